"""Ways to break a body: in its values, in its structure, in its bytes. Pure but for the dice."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any, Final

Place = tuple[Any, Any]
"""A list or an object of a body, and the index or key of one of its values."""

LITERALS: Final = (
    "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1E400", "0123", "+1", ".5", "1.", "0x10",
    "9" * 400, "9" * 5000, "-" + "9" * 25, "18446744073709551616", "1.0", "1e2",
    "True", "undefined", "'x'", '"\\ud800"', '"\\u0000"', '"\\x"', '"' + "a" * 70_000 + '"',
)  # fmt: skip
"""What some programs write where JSON should be, and numbers at or beyond every limit."""
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    0.5,
    "",
    "x",
    [],
    {},
    [[]],
)
DEEPEST: Final = 60_000
BYTES: Final = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\xf5\x80\x80\x80")
"""Not UTF-8, or not welcome inside JSON."""


@dataclass(frozen=True)
class Literal:
    """Text that stands in a body as it is."""

    text: str


def render(body: Any) -> bytes:
    """Return a body as JSON, with its literals in it as they are."""
    literals: list[str] = []

    def mark(value: Any) -> str:
        literals.append(value.text)
        return f"\x01{len(literals) - 1}\x01"

    text = json.dumps(body, default=mark, ensure_ascii=False)
    for number, literal in enumerate(literals):
        text = text.replace(f'"\\u0001{number}\\u0001"', literal)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[Place]:
    """Yield every place of a body, outermost first."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _replace(body: Any, dice: Random, value: Any) -> bytes:
    inside, key = dice.choice(list(_places(body)))
    inside[key] = value
    return render(body)


def _whole(body: Any, _: Random) -> bytes:
    return render(body)


def _other_value(body: Any, dice: Random) -> bytes:
    return _replace(body, dice, dice.choice(VALUES))


def _strange_literal(body: Any, dice: Random) -> bytes:
    return _replace(body, dice, Literal(dice.choice(LITERALS)))


def _nested(body: Any, dice: Random) -> bytes:
    depth = dice.choice([2, 65, 1000, DEEPEST])
    before, after = dice.choice([("[", "]"), ('{"a":', "}"), ('{"items":', "}"), ("[", "")])
    return _replace(body, dice, Literal(before * depth + "1" + after * depth))


def _missing(body: Any, dice: Random) -> bytes:
    inside, key = dice.choice(list(_places(body)))
    del inside[key]
    return render(body)


def _extra(body: Any, dice: Random) -> bytes:
    inside, key = dice.choice(list(_places(body)))
    if isinstance(inside, dict):
        inside[dice.choice(["", "type", "__proto__", "a" * 300, str(key) + " "])] = inside[key]
    else:
        inside.insert(0, dice.choice(VALUES))
    return render(body)


def _doubled(body: Any, dice: Random) -> bytes:
    """Give a field of the outermost object twice."""
    text, name = render(body).decode("utf-8", "surrogatepass"), dice.choice(list(body))
    again = render({name: dice.choice(VALUES)}).decode()[1:-1]
    return f"{text[:-1]}, {again}}}".encode("utf-8", "surrogatepass")


def _moved(body: Any, dice: Random) -> bytes:
    """Put one value of the body where another was."""
    inside, key = dice.choice(list(_places(body)))
    other, its_key = dice.choice(list(_places(body)))
    inside[key] = json.loads(json.dumps(other[its_key]))
    return render(body)


def _truncated(body: Any, dice: Random) -> bytes:
    raw = render(body)
    return raw[: dice.randrange(len(raw))]


def _spliced(body: Any, dice: Random) -> bytes:
    raw = render(body)
    at = dice.randrange(len(raw))
    return raw[:at] + dice.randbytes(dice.randrange(4)) + raw[at + dice.randrange(4) :]


def _bad_bytes(body: Any, dice: Random) -> bytes:
    raw = render(body)
    at = dice.randrange(len(raw))
    return raw[:at] + dice.choice(BYTES) + raw[at:]


def _no_object(_: Any, dice: Random) -> bytes:
    text = dice.choice(["", " ", "null", "[]", "{}", '""', "1", "{}{}", "[1,", *LITERALS])
    return text.encode()


DAMAGES: Final = MappingProxyType[str, Callable[[Any, Random], bytes]](
    {
        "none": _whole,
        "other value": _other_value,
        "strange literal": _strange_literal,
        "nested": _nested,
        "missing": _missing,
        "extra": _extra,
        "given twice": _doubled,
        "moved": _moved,
        "truncated": _truncated,
        "spliced": _spliced,
        "bad bytes": _bad_bytes,
        "no object": _no_object,
    }
)
"""By name; each takes a body, which it may change, and returns what is sent."""
