"""Decoding bodies: every fault is an ``InvalidRequest`` that names the field."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from gateway.bodies import BodyDecoder, check_encoding
from gateway.problems import BadRequest
from mesh.errors import InvalidRequest
from schemas.openai.chat import ChatRequest

DECODER = BodyDecoder(ChatRequest)


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    ).encode()


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        DECODER.decode(raw)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"store": 1}, "store"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 2**31}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": ""}, "stop"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 1}, "logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_a_wrong_value_is_named(fields: dict[str, Any], param: str) -> None:
    """A value of the wrong type or out of range is refused by its path."""
    error = refusal(body(**fields))

    assert error.param == param
    assert param in error.message


def test_a_missing_field_is_named() -> None:
    """A body without a required field says which."""
    fields = json.loads(body())
    del fields["messages"]

    assert refusal(json.dumps(fields).encode()).param == "messages"


def test_a_model_may_go_unnamed() -> None:
    """Whether there is a default for it is not for the decoder to know."""
    fields = json.loads(body())
    del fields["model"]

    assert DECODER.decode(json.dumps(fields).encode()).model is UNSET


def test_unknown_fields_are_tolerated() -> None:
    """Clients send many fields that mean nothing here."""
    unknown = {"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "user": "u"}

    assert DECODER.decode(body(**unknown)).model == "m"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"nonsense",
        b'{"model":"m","messages":[{"role":"user","content":"hi"}]} trailing',
        b'{"model":"m","temperature":NaN}',
        b'{"model":"m","temperature":Infinity}',
        b'{"model":"\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    """Anything but one JSON object is invalid."""
    assert refusal(raw).message


@pytest.mark.parametrize("raw", [b'{"model":"\xff"}', body()[:-1] + b',"extra":"\xff"}'])
def test_bad_utf8_is_refused_even_where_it_is_ignored(raw: bytes) -> None:
    """Bytes that are not UTF-8 are refused in known and in unknown fields."""
    assert "UTF-8" in refusal(raw).message


@pytest.mark.parametrize("field", [b"tools", b"extra"])
def test_deep_nesting_is_refused(field: bytes) -> None:
    """200,000 brackets are a fault of the client, in known and in unknown fields."""
    depth = 200_000
    raw = body()[:-1] + b',"' + field + b'":' + b"[" * depth + b"]" * depth + b"}"

    assert refusal(raw).message


@pytest.mark.parametrize("digits", [20, 10_000])
@pytest.mark.parametrize("field", ["max_tokens", "seed", "temperature"])
def test_huge_numbers_are_refused(field: str, digits: int) -> None:
    """An integer too large for the field is named, however long it is."""
    raw = body()[:-1] + f',"{field}":{"9" * digits}'.encode() + b"}"

    assert refusal(raw).param == field


@pytest.mark.parametrize("field", ["model", "messages", "temperature", "stream"])
def test_a_field_given_twice_is_named(field: str) -> None:
    """Parsers disagree on which of two values counts, so neither does."""
    fields = {"temperature": 1, "stream": False} | json.loads(body())
    again = json.dumps(fields[field])
    raw = body(**fields)[:-1] + f', "{field}" : {again}}}'.encode()

    error = refusal(raw)

    assert error.param == field
    assert "more than once" in error.message


def test_names_may_repeat_in_different_objects() -> None:
    """A tool's parameter may be called like a field of the body."""
    properties = {"model": {"type": "string"}, "temperature": {"type": "number"}}
    function = {"name": "f", "parameters": {"type": "object", "properties": properties}}
    raw = body(temperature=1, tools=[{"type": "function", "function": function}])

    assert DECODER.decode(raw).temperature == 1


def test_a_huge_ignored_number_beside_a_repeated_name_is_harmless() -> None:
    """The slow look for duplicates does not trip over what the fast one ignores."""
    raw = body(tools=[], user={"model": "x"})[:-1] + b',"extra":' + b"9" * 10_000 + b"}"

    assert DECODER.decode(raw).model == "m"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/problem+json",
    ],
)
def test_json_types_are_accepted(header: str | None) -> None:
    """JSON in UTF-8 under any spelling is welcome, and so is silence."""
    check_encoding({} if header is None else {"Content-Type": header})


@pytest.mark.parametrize(
    "header",
    ["text/plain", "multipart/form-data", "application/json; charset=utf-16", "json", "", ";"],
)
def test_other_types_are_refused(header: str) -> None:
    """A body that says it is something else is not guessed at."""
    with pytest.raises(BadRequest) as caught:
        check_encoding({"Content-Type": header})
    assert caught.value.param == "Content-Type"


def test_compressed_bodies_are_refused() -> None:
    """Nothing is unpacked, so nothing can explode."""
    with pytest.raises(BadRequest) as caught:
        check_encoding({"Content-Encoding": "gzip"})
    assert caught.value.param == "Content-Encoding"
