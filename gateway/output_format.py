"""The form of the output: the several ways in which clients ask for it become one. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.nesting import check_depth
from mesh.errors import InvalidRequest
from schemas.openai.chat import GenerationRequest, ResponseFormat

Form = dict[str, Any]


def output_format(body: GenerationRequest) -> Form | None:
    """Return the form as ``InferRequest.response_format`` has it; raises ``InvalidRequest``."""
    asked = list(_asked(body))
    if len(asked) > 1:
        names = " and ".join(f"'{param}'" for param, _ in asked)
        raise InvalidRequest(f"{names} exclude each other.", param=asked[1][0])
    return asked[0][1] if asked else None


def _asked(body: GenerationRequest) -> Iterator[tuple[str, Form]]:
    """Yield every field that asks for a form of output, with what it asks for."""
    form = _response_format(body.response_format)
    if form is not None:
        yield "response_format", form
    for param in ("json_schema", "guided_json"):
        yield from _given(param, getattr(body, param), _of_schema)
    yield from _given("guided_regex", body.guided_regex, _of_pattern)
    yield from _given("guided_choice", body.guided_choice, _of_choice)
    for param in ("grammar", "guided_grammar"):
        yield from _given(param, getattr(body, param), _of_grammar)
    structured = body.structured_outputs
    if structured is not None:
        yield from _given("structured_outputs.json", structured.json, _of_schema)
        yield from _given("structured_outputs.regex", structured.regex, _of_pattern)
        yield from _given("structured_outputs.choice", structured.choice, _of_choice)
        yield from _given("structured_outputs.grammar", structured.grammar, _of_grammar)


def _given(param: str, value: Any, form: Any) -> Iterator[tuple[str, Form]]:
    if value is not None:
        check_depth(value, param)
        yield param, form(value)


def _of_schema(schema: Any) -> Form:
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def _of_pattern(pattern: str) -> Form:
    return {"type": "regex", "pattern": pattern}


def _of_choice(choices: tuple[str, ...]) -> Form:
    return {"type": "choice", "choices": list(choices)}


def _of_grammar(grammar: str) -> Form:
    return {"type": "grammar", "grammar": grammar}


def _response_format(form: ResponseFormat | None) -> Form | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object" and form.schema is not None:
        check_depth(form.schema, "response_format.schema")
        return _of_schema(form.schema)
    if form.type == "json_schema":
        param = "response_format.json_schema"
        if form.json_schema is None:
            raise InvalidRequest(f"The field '{param}' is missing.", param=param)
        check_depth(form.json_schema.schema, f"{param}.schema")
    plain: Form = msgspec.to_builtins(form)
    return plain
