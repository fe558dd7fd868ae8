"""``response_format`` as grammar rules."""

from typing import Any

import msgspec
from llguidance import regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark, is_lark_syntax

from mesh.errors import InvalidRequest
from workers.llama.grammar import Source, literal, schema_source
from workers.llama.schema_check import check_repeats, check_schema

SCHEMA_PARAM = "response_format.json_schema.schema"
MAX_GRAMMAR = 32 << 10
"""Characters of a grammar or a regular expression."""
MAX_GBNF = 8 << 10
"""The same of a grammar that is to be translated first, which takes its time."""
MAX_CHOICES = 1000
ANY_OBJECT: dict[str, Any] = {"type": "object"}


class Answer(msgspec.Struct, frozen=True):
    """rules: define ``answer``. own: a grammar that they call; source: a schema in them."""

    rules: str
    param: str
    own: str = ""
    source: Source | None = None


def answer_of(wanted: dict[str, Any] | None) -> Answer | None:
    """Return the form an answer must have, ``None`` for any; raises ``InvalidRequest``."""
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return _object(wanted.get("schema"))
        case {"type": "json_schema", "json_schema": {"schema": schema, **rest}}:
            # Whoever sends a schema means it: only an explicit false asks for best effort.
            return _schema(schema, SCHEMA_PARAM, strict=rest.get("strict") is not False)
        case {"type": "json_schema"}:
            raise InvalidRequest("json_schema needs a schema", param=SCHEMA_PARAM)
        case {"type": "regex", "pattern": str(pattern)}:
            return _regex(pattern)
        case {"type": "choice", "choices": [*choices]}:
            return _choice(choices)
        case {"type": "grammar", "grammar": str(grammar)}:
            return _grammar(grammar)
    msg = "response_format must be text, json_object, json_schema, regex, choice or grammar"
    raise InvalidRequest(msg, param="response_format")


def _object(schema: Any) -> Answer:
    """Return the form of any object, or of the schema that llama-server takes here, too."""
    return _schema(ANY_OBJECT if schema is None else schema, "response_format.schema", strict=True)


def _schema(schema: Any, param: str, *, strict: bool) -> Answer:
    check_schema(schema, strict=strict, param=param)
    source = schema_source(param, schema, strict=strict)
    return Answer(f"answer: %json {source.schema}\n", param, source=source)


def _regex(pattern: str) -> Answer:
    param = "response_format.pattern"
    _check_size(pattern, param)
    check_repeats(pattern, param)
    return Answer(f"answer: /{regex_to_lark(pattern, '')}/\n", param)


def _choice(choices: list[Any]) -> Answer:
    param = "response_format.choices"
    texts = [choice for choice in choices if isinstance(choice, str) and choice]
    if not texts or len(texts) < len(choices) or len(texts) > MAX_CHOICES:
        raise InvalidRequest(f"choices must be 1 to {MAX_CHOICES} texts", param=param)
    _check_size("".join(texts), param)
    return Answer("answer: " + " | ".join(map(literal, texts)) + "\n", param)


def _grammar(grammar: str) -> Answer:
    param = "response_format.grammar"
    _check_size(grammar, param)
    check_repeats(grammar, param)
    if "%json" in grammar:  # its schema would go unchecked
        raise InvalidRequest("a grammar cannot hold %json: use json_schema", param=param)
    return Answer("answer: @own\n", param, own=_lark(grammar, param))


def _lark(grammar: str, param: str) -> str:
    """Return a grammar in Lark's syntax; one in llama.cpp's GBNF is translated."""
    if is_lark_syntax(grammar):
        return grammar
    _check_size(grammar, param, MAX_GBNF)
    try:
        lark: str = gbnf_to_lark(grammar)
    except Exception as error:  # the translator raises whatever its parser stumbles over
        msg = f"the grammar is neither Lark nor GBNF: {type(error).__name__}"
        raise InvalidRequest(msg, param=param) from error
    return lark


def _check_size(text: str, param: str, most: int = MAX_GRAMMAR) -> None:
    if len(text) > most:
        raise InvalidRequest(f"at most {most} characters are possible", param=param)
