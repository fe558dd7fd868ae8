"""Frames as an Anthropic message, whole or as events, and errors in its envelope."""

from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.messages import envelope
from gateway.messages.answer import MessageGatherer
from gateway.messages.stream import MessageEncoder
from gateway.problems import Problem, Unauthorized, describe, respond
from mesh import errors
from mesh.errors import UpstreamMalformed
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import FinishReason, Usage

USAGE = Usage(prompt_tokens=10, completion_tokens=4, cached_tokens=7)
TOLD: dict[str, Any] = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 7,
    "output_tokens": 4,
    "output_tokens_details": None,
    "server_tool_use": None,
}
NEVER: dict[str, Any] = {"cache_creation": None, "inference_geo": None, "service_tier": None}
NOTHING = {name: None if value is None else 0 for name, value in TOLD.items()}
DIRECT = {"type": "direct"}
THOUGHT = Delta(seq=1, reasoning="hm")
TEXT = Delta(seq=2, text='a"b')
CALL = Delta(seq=3, tool_calls=(ToolCallDelta(index=0, id="call_1", name="f", arguments='{"x"'),))
MORE = Delta(seq=4, tool_calls=(ToolCallDelta(index=0, arguments=":1}"),))
OTHER = Delta(seq=5, tool_calls=(ToolCallDelta(index=1, name="g"),))


def done(reason: FinishReason = "stop", **fields: Any) -> Done:
    return Done(seq=9, finish_reason=reason, usage=USAGE, **fields)


def gathered(*frames: Delta, end: Done | None = None, thinking: bool = True) -> Any:
    gatherer = MessageGatherer(message_id="msg_1", model="spark", thinking=thinking)
    for frame in frames:
        gatherer.add(frame)
    return msgspec.json.decode(msgspec.json.encode(gatherer.complete(end or done())))


def events(*frames: Delta, end: Done | None = None, thinking: bool = True) -> list[Any]:
    encoder = MessageEncoder(message_id="msg_1", model="spark", thinking=thinking, request_id="r1")
    told = [*encoder.opening(), *map(encoder.delta, frames), *encoder.closing(end or done())]
    return parse(b"".join(told))


def parse(stream: bytes) -> list[Any]:
    """Return the events, each of which goes by the name of its type."""
    found = []
    for lines in stream.removesuffix(b"\n\n").split(b"\n\n"):
        name, _, data = lines.partition(b"\n")
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    return found


def test_a_message_has_its_blocks_in_order() -> None:
    """Thought, text and calls become blocks; the call decides how the message ended."""
    assert gathered(THOUGHT, TEXT, CALL, MORE, OTHER, end=done("tool_calls")) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "spark",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": 'a"b', "citations": None},
            {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}, "caller": DIRECT},
            {"type": "tool_use", "id": "toolu_msg_1_1", "name": "g", "input": {}, "caller": DIRECT},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": TOLD | NEVER,
    }


@pytest.mark.parametrize(
    ("end", "reason", "sequence"),
    [
        (done("stop"), "end_turn", None),
        (done("stop", stop="###"), "stop_sequence", "###"),
        (done("length"), "max_tokens", None),
        (done("content_filter"), "refusal", None),
    ],
)
def test_reasons_to_stop(end: Done, reason: str, sequence: str | None) -> None:
    """Every end has its name, whole and streamed alike."""
    whole = gathered(TEXT, end=end)
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    *_, delta, _ = events(TEXT, end=end)
    assert delta == {
        "type": "message_delta",
        "delta": {
            "stop_reason": reason,
            "stop_sequence": sequence,
            "stop_details": None,
            "container": None,
        },
        "usage": TOLD,
    }


def test_a_forced_call_is_one_although_the_upstream_says_stop() -> None:
    """OpenAI ends a call that it was told to make with "stop"."""
    assert gathered(CALL, MORE, end=done("stop"))["stop_reason"] == "tool_use"
    assert events(CALL, MORE, end=done("stop"))[-2]["delta"]["stop_reason"] == "tool_use"


def test_thoughts_are_shown_to_who_asked_for_them() -> None:
    """Others find the text where they look for it: in the first block."""
    assert [b["type"] for b in gathered(THOUGHT, TEXT, thinking=False)["content"]] == ["text"]
    started = [e for e in events(THOUGHT, TEXT, thinking=False) if e["type"].endswith("_start")]
    assert [e["content_block"]["type"] for e in started[1:]] == ["text"]


def test_half_a_call_is_left_out_of_an_answer_that_was_cut() -> None:
    """Nobody could do anything with it; a broken one otherwise is an error."""
    cut = gathered(TEXT, CALL, end=done("length"))
    assert [block["type"] for block in cut["content"]] == ["text"]
    with pytest.raises(UpstreamMalformed):
        gathered(TEXT, CALL, end=done("tool_calls"))


def test_the_events_of_a_message() -> None:
    """Each block is opened, filled and closed before the next; a ping follows the first opening."""
    assert events(THOUGHT, THOUGHT, TEXT, CALL, MORE, OTHER, end=done("tool_calls")) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "spark",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "stop_details": None,
                "container": None,
                "usage": NOTHING | NEVER,
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "ping"},
        *[
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "hm"},
            }
        ]
        * 2,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "text", "text": "", "citations": None},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "text_delta", "text": 'a"b'},
        },
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {
                "type": "tool_use",
                "id": "call_1",
                "name": "f",
                "input": {},
                "caller": DIRECT,
            },
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"x"'},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": ":1}"},
        },
        {"type": "content_block_stop", "index": 2},
        {
            "type": "content_block_start",
            "index": 3,
            "content_block": {
                "type": "tool_use",
                "id": "toolu_msg_1_1",
                "name": "g",
                "input": {},
                "caller": DIRECT,
            },
        },
        {"type": "content_block_stop", "index": 3},
        {
            "type": "message_delta",
            "delta": {
                "stop_reason": "tool_use",
                "stop_sequence": None,
                "stop_details": None,
                "container": None,
            },
            "usage": TOLD,
        },
        {"type": "message_stop"},
    ]


def test_a_late_piece_of_a_call_goes_to_its_own_block() -> None:
    """What an upstream mixes is kept apart by the index."""
    found = events(CALL, OTHER, MORE)
    pieces = [(e["index"], e["delta"]["partial_json"]) for e in found if "partial_json" in str(e)]
    assert pieces == [(0, '{"x"'), (0, ":1}")]
    assert [e["index"] for e in found if e["type"] == "content_block_start"] == [0, 1]


def test_a_message_without_content_has_no_blocks() -> None:
    """It begins and ends all the same."""
    assert [event["type"] for event in events(end=done("length"))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    assert gathered(end=done("length"))["content"] == []


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidRequest("why"), 400, "invalid_request_error"),
        (Unauthorized("why"), 401, "authentication_error"),
        (errors.PermissionDenied("why"), 403, "permission_error"),
        (errors.ModelNotFound("why"), 404, "not_found_error"),
        (errors.PayloadTooLarge("why"), 413, "request_too_large"),
        (errors.QueueFull("why"), 429, "rate_limit_error"),
        (errors.BudgetExhausted("why"), 429, "rate_limit_error"),
        (errors.InternalError("why"), 500, "api_error"),
        (errors.WorkerLost("why"), 500, "api_error"),
        (errors.NoCapacity("why"), 529, "overloaded_error"),
        (errors.DeadlineExceeded("why"), 504, "timeout_error"),
        (web.HTTPMethodNotAllowed("GET", ["POST"]), 405, "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_form(error: Exception, status: int, kind: str) -> None:
    """Type, message and request id in its envelope, under its status; retry headers stay."""
    problem = describe(error)
    response = respond(problem)
    headers = response.headers.copy()
    envelope.reform(response, problem, "r1")

    assert response.status == status
    assert isinstance(response.body, bytes)
    assert msgspec.json.decode(response.body) == {
        "type": "error",
        "error": {"type": kind, "message": problem.message},
        "request_id": "r1",
    }
    assert {name: response.headers[name] for name in headers if name != "Content-Length"} == {
        name: value for name, value in headers.items() if name != "Content-Length"
    }


def test_a_failure_in_mid_stream_is_an_error_event() -> None:
    """Its data is the envelope."""
    encoder = MessageEncoder(message_id="msg_1", model="m", thinking=False, request_id="r1")
    problem = Problem(status=503, message="gone", type="server_error")
    assert parse(encoder.failure(problem)) == [
        {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "gone"},
            "request_id": "r1",
        }
    ]


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/nothing", True),
        ("/v1/messagesque", False),
        ("/v1/chat/completions", False),
    ],
)
def test_the_envelope_belongs_to_one_surface(path: str, covered: bool) -> None:
    """Errors elsewhere keep the OpenAI form."""
    assert envelope.covers(path) is covered
