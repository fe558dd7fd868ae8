"""The OpenAPI description: complete, valid, and no stricter or laxer than the decoder."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.app import build_app
from gateway.bodies import BodyDecoder
from gateway.completions.answer import TextEncoder
from gateway.description import describe
from gateway.messages.stream import MessageEncoder
from gateway.openapi import OPERATIONS
from gateway.operation import Operation
from gateway.problems import Problem
from gateway.settings import GatewaySettings
from gateway.sse import ChunkEncoder
from mesh.errors import InvalidRequest
from mesh.fleet import Fleet
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Usage
from schemas.openai.completions import CompletionRequest

DOCUMENT = json.loads(msgspec.json.encode(describe(OPERATIONS)))
COMPONENTS = DOCUMENT["components"]["schemas"]
POSTED = [operation for operation in OPERATIONS if operation.request is not None]
METHODS = {"get", "post", "delete"}


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def validator(schema: Any) -> Draft202012Validator:
    """Return a validator for a schema, which may refer to the components."""
    return Draft202012Validator(schema | {"components": DOCUMENT["components"]})


def schema_of(operation: Operation) -> Any:
    """Return the schema of what is posted."""
    posted = DOCUMENT["paths"][operation.path]["post"]["requestBody"]
    return posted["content"]["application/json"]["schema"]


def events_of(path: str) -> Any:
    """Return the schema of the events of an operation."""
    success = DOCUMENT["paths"][path]["post"]["responses"]["200"]
    return success["content"]["text/event-stream"]["schema"]


def data_of(events: list[bytes]) -> list[str]:
    """Return the data of each event."""
    lines = b"".join(events).decode().split("\n")
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def check_events(path: str, events: list[bytes]) -> None:
    """Check events by the document: their data is the text that ends, or JSON of the schema."""
    data = events_of(path)["properties"]["data"]
    last = next((one["const"] for one in data.get("anyOf", ()) if "const" in one), None)
    content = next(part for part in walk(data) if "contentSchema" in part)["contentSchema"]
    texts = data_of(events)
    assert len(texts) > 2
    for text in texts:
        if text != last:
            validator(content).validate(json.loads(text))


def accepts(operation: Operation, body: Any) -> bool:
    """Return whether the decoder takes a body."""
    try:
        BodyDecoder(operation.request).decode(json.dumps(body).encode())
    except InvalidRequest:
        return False
    return True


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_every_route_of_the_api_is_described_and_nothing_else() -> None:
    """The routes below /v1 are the operations of the document, method by method."""
    router: Any = None  # no request is made, so nobody is asked
    routes = build_app(router, Fleet(), GatewaySettings()).router.routes()
    served = {
        (route.method.lower(), re.sub(r"{(\w+):[^}]*}", r"{\1}", route.resource.canonical))
        for route in routes
        if route.resource is not None and route.method != "HEAD"
    }

    described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}

    assert described == {(method, path) for method, path in served if path.startswith("/v1/")}


def test_the_document_holds_together() -> None:
    """Every reference leads somewhere, ids are unique, and what 3.1 requires is there."""
    for part in walk(DOCUMENT):
        if "$ref" in part:
            target = DOCUMENT
            for key in part["$ref"].removeprefix("#/").split("/"):
                target = target[key]
    operations = [item[method] for item in DOCUMENT["paths"].values() for method in item]
    ids = [operation["operationId"] for operation in operations]

    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    assert len(ids) == len(set(ids))
    assert {method for item in DOCUMENT["paths"].values() for method in item} <= METHODS
    assert all(
        answer["description"] for each in operations for answer in each["responses"].values()
    )


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_schema_is_valid_and_says_what_it_is_for(name: str) -> None:
    """Components are JSON Schema 2020-12, the dialect of OpenAPI 3.1."""
    Draft202012Validator.check_schema(COMPONENTS[name])
    assert COMPONENTS[name]["description"]


@pytest.mark.parametrize("operation", POSTED, ids=named)
def test_an_example_is_accepted(operation: Operation) -> None:
    """What the document shows as a body is one, by its schema and for the decoder."""
    assert operation.example is not None
    validator(schema_of(operation)).validate(json.loads(operation.example))
    BodyDecoder(operation.request).decode(operation.example)


# JSON Schema calls 1.0 an integer; the decoder wants integers without a fraction, as the document
# says in words.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([-2, -1, 0, 1, 2, 16, 17, 20, 21, 128, 2**31 - 1, 2**31, 2**63 - 1, 2**63])
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: value % 1 != 0)
    | st.sampled_from([-0.5, 0.5, 1.5, 2.5, 10.5])
    | st.text(max_size=3)
    | st.sampled_from(
        [
            "user",
            "tool",
            "text",
            "function",
            "none",
            "auto",
            "float",
            "json_object",
            "auto",
            "enabled",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "function", "name", "schema", "1"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("operation", POSTED, ids=named)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_the_schema_is_what_the_decoder_enforces(operation: Operation, data: st.DataObject) -> None:
    """Whatever is put into a field, schema and decoder agree on whether it may stand there."""
    body = json.loads(operation.example or b"{}")
    fields = [field.encode_name for field in msgspec.structs.fields(operation.request)]
    for name in data.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=3)):
        body[name] = data.draw(json_values)
    fits = validator(schema_of(operation)).is_valid(body)

    assert accepts(operation, body) is fits, body


CALL = ToolCallDelta(index=0, id="call_1", name="f", arguments="{")
LOGPROB = {"token": "hi", "logprob": -0.1, "bytes": [104], "top_logprobs": []}
PROBLEM = Problem(status=502, message="gone", type="server_error")
END = Done(seq=4, finish_reason="stop", usage=Usage())


def test_a_stream_of_chat_is_as_described() -> None:
    """Chunks of every kind fit the schema that the document has for them."""
    encoder = ChunkEncoder(completion_id="c", model="m", created=1, choices=2, include_usage=True)
    events = [
        *encoder.opening(),
        encoder.delta(Delta(seq=1, text="hi")),
        encoder.delta(Delta(seq=2, text="hi", index=1, logprobs=[LOGPROB])),
        encoder.delta(Delta(seq=3, reasoning="hm", tool_calls=(CALL,), finish_reason="stop")),
        *encoder.closing(END),
        encoder.failure(PROBLEM),
    ]

    check_events("/v1/chat/completions", events)


def test_a_stream_of_completions_is_as_described() -> None:
    """The same of the older surface, with its own log-probabilities."""
    options = {"echo": True, "logprobs": 1, "stream_options": {"include_usage": True}}
    body = msgspec.convert({"model": "m", "prompt": "hi"} | options, CompletionRequest)
    encoder = TextEncoder(body, completion_id="c", model="m", created=1)
    events = [
        *encoder.opening(),
        encoder.delta(Delta(seq=1, text="hi", logprobs=[LOGPROB])),
        *encoder.closing(END),
        encoder.failure(PROBLEM),
    ]

    check_events("/v1/completions", events)


def test_a_stream_of_messages_is_as_described() -> None:
    """Events of every kind fit Anthropic's schemas, and so does the error's."""
    encoder = MessageEncoder(message_id="c", model="m", thinking=True, request_id="r")
    events = [
        *encoder.opening(),
        encoder.delta(Delta(seq=1, reasoning="hm", text="hi", tool_calls=(CALL,))),
        *encoder.closing(END),
        encoder.failure(PROBLEM),
    ]

    check_events("/v1/messages", events)
