"""Frames into chunks: the rules that OpenAI clients depend on."""

from typing import Any

import msgspec

from gateway.problems import Problem
from gateway.sse import DONE, PING, ChunkEncoder, error_event
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Usage

END = Done(seq=9, finish_reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=2))
LOGPROB = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}


def encoder(*, choices: int = 1, include_usage: bool = False) -> ChunkEncoder:
    return ChunkEncoder(
        completion_id="chatcmpl-1",
        model='sp"ark',
        created=7,
        choices=choices,
        include_usage=include_usage,
    )


def parse(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    return msgspec.json.decode(event[6:])


def delta_of(event: bytes) -> dict[str, Any]:
    delta: dict[str, Any] = parse(event)["choices"][0]["delta"]
    return delta


def test_a_plain_delta_is_a_whole_chunk() -> None:
    """Text is encoded with everything a chunk needs."""
    chunk = parse(encoder().delta(Delta(seq=1, text='line\n"two" \u2028 ü')))

    assert chunk == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": 'sp"ark',
        "choices": [
            {
                "index": 0,
                "delta": {"content": 'line\n"two" \u2028 ü'},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }


def test_the_role_comes_once_per_choice_and_in_order() -> None:
    """Opening chunks carry the role, choice 0 first; later ones never do."""
    stream = encoder(choices=3)

    opening = [parse(event)["choices"][0] for event in stream.opening()]

    assert [choice["index"] for choice in opening] == [0, 1, 2]
    assert all(c["delta"] == {"role": "assistant", "content": ""} for c in opening)
    assert "role" not in delta_of(stream.delta(Delta(seq=1, text="a")))


def test_a_stream_ends_with_a_finish_reason_and_done() -> None:
    """Without opting in there is no usage and no chunk without choices."""
    finish, done = encoder().closing(END)

    assert parse(finish)["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    ]
    assert "usage" not in parse(finish)
    assert done == DONE


def test_usage_is_null_until_the_end_when_opted_in() -> None:
    """Every chunk carries ``usage: null``, then one without choices carries the figures."""
    stream = encoder(include_usage=True)

    events = [*stream.opening(), stream.delta(Delta(seq=1, text="a")), *stream.closing(END)]

    assert [parse(event)["usage"] for event in events[:-2]] == [None, None, None]
    assert parse(events[-2])["choices"] == []
    assert parse(events[-2])["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_choice_that_finished_itself_is_not_finished_again() -> None:
    """With several choices each one ends once, with its own reason."""
    stream = encoder(choices=2)

    own = parse(stream.delta(Delta(seq=1, index=1, text="b", finish_reason="length")))
    finishes = [parse(event)["choices"][0] for event in stream.closing(END)[:-1]]

    assert own["choices"][0]["finish_reason"] == "length"
    assert [(c["index"], c["finish_reason"]) for c in finishes] == [(0, "stop")]


def test_id_type_and_name_of_a_tool_call_come_once() -> None:
    """Clients concatenate what repeats, so only the arguments go on."""
    stream = encoder()
    first = ToolCallDelta(index=0, id="call_a", name="f", arguments='{"x"')
    more = ToolCallDelta(index=0, id="call_a", name="f", arguments=":1}")
    second = ToolCallDelta(index=1, name="g")

    deltas = [
        delta_of(stream.delta(Delta(seq=i, tool_calls=(call,))))
        for i, call in enumerate((first, more, second))
    ]

    assert deltas == [
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x"'},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_0_1",
                    "type": "function",
                    "function": {"name": "g", "arguments": ""},
                }
            ]
        },
    ]


def test_reasoning_and_logprobs_are_carried() -> None:
    """What an upstream adds arrives where clients look for it."""
    chunk = parse(encoder().delta(Delta(seq=1, text="a", reasoning="hm", logprobs=[LOGPROB])))

    assert chunk["choices"][0]["delta"] == {"content": "a", "reasoning_content": "hm"}
    assert chunk["choices"][0]["logprobs"] == {"content": [LOGPROB], "refusal": None}


def test_an_error_event_is_the_whole_envelope() -> None:
    """A failure in mid-stream has the form of any other failure."""
    event = error_event(
        Problem(status=502, message="lost", type="server_error", code="worker_lost")
    )

    assert parse(event) == {
        "error": {"message": "lost", "type": "server_error", "param": None, "code": "worker_lost"}
    }


def test_a_ping_is_a_comment() -> None:
    """A comment and an empty line: no data, no id."""
    assert PING == b": ping\n\n"
