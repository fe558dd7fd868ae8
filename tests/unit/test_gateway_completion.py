"""Frames into a whole answer."""

from typing import Any

import msgspec

from gateway.completion import Gatherer
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Usage

END = Done(
    seq=9,
    finish_reason="stop",
    usage=Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1),
)
LOGPROB = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}


def gather(*deltas: Delta, choices: int = 1) -> Any:
    gatherer = Gatherer(choices)
    for delta in deltas:
        gatherer.add(delta)
    whole = gatherer.complete(END, completion_id="chatcmpl-1", model="spark", created=7)
    return msgspec.json.decode(msgspec.json.encode(whole))


def test_texts_are_joined() -> None:
    """A plain answer has every field that clients index into."""
    assert gather(Delta(seq=1, text="Hel"), Delta(seq=2, text="lo")) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "spark",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }


def test_an_empty_answer_has_empty_content() -> None:
    """Nothing said is an empty text, not null."""
    assert gather()["choices"][0]["message"]["content"] == ""


def test_choices_are_kept_apart() -> None:
    """Each choice has its own text and its own reason to finish."""
    choices = gather(
        Delta(seq=1, index=1, text="b", finish_reason="length"),
        Delta(seq=2, index=0, text="a"),
        Delta(seq=3, index=5, text="never asked for"),
        choices=2,
    )["choices"]

    assert [choice["message"]["content"] for choice in choices] == ["a", "b"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]


def test_tool_calls_are_put_together() -> None:
    """Pieces of arguments are joined, and content is null where only tools are called."""
    message = gather(
        Delta(seq=1, tool_calls=(ToolCallDelta(index=0, id="call_a", name="f", arguments="{"),)),
        Delta(seq=2, tool_calls=(ToolCallDelta(index=1, name="g", arguments="[]"),)),
        Delta(seq=3, tool_calls=(ToolCallDelta(index=0, arguments="}"),)),
    )["choices"][0]["message"]

    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "call_0_1", "type": "function", "function": {"name": "g", "arguments": "[]"}},
    ]


def test_reasoning_and_logprobs_are_kept() -> None:
    """What an upstream adds arrives where clients look for it."""
    choice = gather(
        Delta(seq=1, reasoning="hm", logprobs=[LOGPROB]),
        Delta(seq=2, text="a", reasoning="!", logprobs=[LOGPROB]),
    )["choices"][0]

    assert choice["message"]["reasoning_content"] == "hm!"
    assert choice["logprobs"] == {"content": [LOGPROB, LOGPROB], "refusal": None}
