"""What a JSON schema may ask of constrained output, checked before anything is compiled.

The keywords follow JSON Schema 2020-12; which of them can be enforced is llguidance's choice. The
bounds keep compiling within tens of milliseconds and one token's mask within a few: all streams
of the engine wait for it.
"""

import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from mesh.errors import InvalidRequest

UNSUPPORTED = frozenset(
    {
        "$dynamicRef", "$recursiveRef", "contains", "dependencies", "dependentRequired",
        "dependentSchemas", "else", "if", "maxContains", "minContains", "not", "propertyNames",
        "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
FORMATS = frozenset(
    {
        "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "unknown",
        "uri", "uuid",
    }
)  # fmt: skip
_SCHEMA = ("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not",
           "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")  # fmt: skip
_SCHEMAS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_EITHER = ("anyOf", "oneOf")
_NAMED = ("dependentSchemas", "patternProperties", "properties")

MAX_SIZE = 256 << 10
"""Characters of a schema as JSON."""
MAX_DEPTH = 64
MAX_SCHEMAS = 2500
MAX_PROPERTIES = 1000
MAX_BRANCHES = 200
MAX_COMBINATIONS = 400
"""Ways to choose one branch in each of the places that hold at once."""
MAX_REPEAT = 2000
MAX_PATTERNS = 8
"""Patterns that hold at once: texts must match all of them."""
MAX_INTERSECTION = 200
"""Patterns that hold at once, times the ways to combine branches."""
MAX_MULTIPLE = 1000
"""Least common multiple of all ``multipleOf``, in units of their last decimal place."""

_REPEAT = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
_Node = tuple[str, Any, int]


def check_schema(schema: Any, *, strict: bool, param: str) -> None:
    """Raise ``InvalidRequest`` for ``param`` if a schema is none, or too much.

    ``strict``: refuse keywords that cannot be enforced, too; else they are ignored.
    """
    try:
        _check(schema, strict)
    except _Fault as fault:
        raise InvalidRequest(f"{fault} ({fault.place or '#'})", param=param) from None
    except RecursionError:
        raise InvalidRequest("the schema's references are nested too deeply", param=param) from None


def check_repeats(pattern: str, param: str) -> None:
    """Raise ``InvalidRequest`` if a regular expression counts too far."""
    if _counts_too_far(pattern):
        msg = f"the pattern repeats something more than {MAX_REPEAT} times"
        raise InvalidRequest(msg, param=param)


class _Fault(Exception):
    """What is wrong, and where: a JSON pointer."""

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        super().__init__(message)


def _check(schema: Any, strict: bool) -> None:
    _check_size(schema)
    multiples: set[Fraction] = set()
    for count, (place, node, depth) in enumerate(_walk(schema)):
        if count >= MAX_SCHEMAS:
            raise _Fault(place, f"the schema has more than {MAX_SCHEMAS} parts")
        if depth > MAX_DEPTH:
            raise _Fault("", f"the schema is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, dict):
            _check_node(place, node, schema, strict)
            _note_multiple(place, node, multiples)
        elif not isinstance(node, bool):
            raise _Fault(place, "a schema must be an object or a boolean")
    _Combinations(schema).check()


def _check_size(schema: Any) -> None:
    if not isinstance(schema, dict):
        raise _Fault("", "the schema must be an object")
    try:
        size = len(json.dumps(schema))
    except RecursionError as error:
        raise _Fault("", f"the schema is nested more than {MAX_DEPTH} levels deep") from error
    if size > MAX_SIZE:
        raise _Fault("", f"the schema has {size} characters, at most {MAX_SIZE} are possible")


def _walk(root: dict[str, Any]) -> Iterator[_Node]:
    """Yield every schema that counts: definitions only where a ``$ref`` leads to them."""
    queue: list[_Node] = [("#", root, 0)]
    seen: set[str] = {"#"}
    while queue:
        place, node, depth = queue.pop()
        yield place, node, depth
        if not isinstance(node, dict):
            continue
        target = node.get("$ref")
        if isinstance(target, str) and target.startswith("#/") and target not in seen:
            seen.add(target)
            queue.append((target, resolve(root, target, place), depth + 1))
        queue.extend((where, child, depth + 1) for where, child in _children(place, node))


def _children(place: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _SCHEMA:
        if key in node and not isinstance(node[key], list):
            yield f"{place}/{key}", node[key]
    for key in _SCHEMAS:
        if isinstance(node.get(key), list):
            yield from ((f"{place}/{key}/{n}", child) for n, child in enumerate(node[key]))
    for key in _NAMED:
        if isinstance(node.get(key), dict):
            yield from ((f"{place}/{key}/{name}", child) for name, child in node[key].items())


def resolve(root: Any, pointer: str, place: str = "") -> Any:
    """Return what a local ``$ref`` points at (RFC 6901, section 6)."""
    node = root
    for step in unquote(pointer).removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            raise _Fault(place, f"$ref {pointer!r} leads nowhere")
    return node


def _check_node(place: str, node: dict[str, Any], root: Any, strict: bool) -> None:
    if strict and (found := sorted(UNSUPPORTED & node.keys())):
        raise _Fault(place, f"the keyword {found[0]!r} cannot be enforced")
    if strict and isinstance(kind := node.get("format"), str) and not _is_known(node, kind):
        raise _Fault(place, f"the format {kind!r} cannot be enforced: the keyword 'format'")
    if "$ref" in node and not isinstance(node["$ref"], str):
        raise _Fault(place, "$ref must be a text")
    for key in ("anyOf", "oneOf", "allOf"):
        _check_count(place, node, key, MAX_BRANCHES)
    _check_count(place, node, "properties", MAX_PROPERTIES)
    _check_count(place, node, "patternProperties", MAX_BRANCHES)
    patterns = [node.get("pattern"), *_keys(node.get("patternProperties"))]
    if any(isinstance(p, str) and _counts_too_far(p) for p in patterns):
        raise _Fault(place, f"'pattern' repeats something more than {MAX_REPEAT} times")


def _is_known(node: dict[str, Any], kind: str) -> bool:
    """Return whether a format is enforced; formats of numbers say nothing about their text."""
    return kind in FORMATS or node.get("type") not in ("string", None)


def _check_count(place: str, node: dict[str, Any], key: str, most: int) -> None:
    found = node.get(key)
    if isinstance(found, list | dict) and len(found) > most:
        raise _Fault(place, f"{key!r} has {len(found)} entries, at most {most} are possible")


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _counts_too_far(pattern: str) -> bool:
    return any(
        int(number[:9]) > MAX_REPEAT
        for counts in _REPEAT.findall(pattern)
        for number in counts
        if number
    )


def _note_multiple(place: str, node: dict[str, Any], multiples: set[Fraction]) -> None:
    """Refuse numbers whose multiples take too many states to count (they compile for minutes)."""
    value = node.get("multipleOf")
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _Fault(place, "'multipleOf' must be a number above 0")
    multiples.add(Fraction(repr(value)))
    scale = math.lcm(*(multiple.denominator for multiple in multiples))
    if math.lcm(*(int(multiple * scale) for multiple in multiples)) > MAX_MULTIPLE:
        raise _Fault(place, f"'multipleOf' is too large to be enforced (above {MAX_MULTIPLE})")


class _Combinations:
    """Counts the ways to combine branches that hold at one place, and the patterns in them."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, tuple[int, int]] = {}

    def check(self) -> None:
        for place, node, _ in _walk(self._root):
            ways, patterns = self._of(node)
            if ways > MAX_COMBINATIONS:
                msg = f"'allOf', 'anyOf' and 'oneOf' combine in over {MAX_COMBINATIONS} ways"
                raise _Fault(place, msg)
            if patterns > 1 and (ways * patterns > MAX_INTERSECTION or patterns > MAX_PATTERNS):
                raise _Fault(place, "too many of 'pattern' and 'format' hold at once")

    def _of(self, node: Any) -> tuple[int, int]:
        """Return the ways to combine the branches, and the patterns that hold in one of them."""
        if not isinstance(node, dict):
            return 1, 0
        if id(node) not in self._known:
            self._known[id(node)] = 1, 0  # of a reference to itself
            self._known[id(node)] = self._count(node)
        return self._known[id(node)]

    def _count(self, node: dict[str, Any]) -> tuple[int, int]:
        parts = [self._of(branch) for branch in _branches(node, "allOf")]
        parts += [self._either(options) for key in _EITHER if (options := _branches(node, key))]
        target = node.get("$ref")
        if isinstance(target, str) and target.startswith("#/"):
            parts.append(self._of(resolve(self._root, target)))
        own = ("pattern" in node) + ("format" in node)
        return math.prod(ways for ways, _ in parts), own + sum(patterns for _, patterns in parts)

    def _either(self, branches: list[Any]) -> tuple[int, int]:
        found = [self._of(branch) for branch in branches]
        return sum(ways for ways, _ in found), max(patterns for _, patterns in found)


def _branches(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return found if isinstance(found, list) else []
