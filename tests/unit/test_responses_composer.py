"""From frames to the events and the items of a response."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from gateway.problems import Problem
from gateway.responses.composer import Composer
from gateway.responses.wire import to_bytes
from mesh.errors import UpstreamMalformed
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Usage
from schemas.openai.response_events import Event
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions

DRAFT = Response(
    id="resp_1",
    created_at=1,
    metadata={},
    model="m",
    reasoning=ReasoningOptions(),
    text=TextConfig(),
)
DONE = Done(seq=9, finish_reason="stop", usage=Usage(prompt_tokens=5, completion_tokens=4))
LOST = Problem(status=502, message="gone", type="server_error", code="worker_lost")


def call(index: int, arguments: str = "", **first: Any) -> Delta:
    piece = ToolCallDelta(index=index, arguments=arguments, **first)
    return Delta(seq=0, tool_calls=(piece,))


def told(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return events as clients read them, checking the ``event:`` line on the way."""
    found = []
    for event in events:
        head, data, *rest = to_bytes(event).decode().split("\n")
        assert rest == ["", ""]
        decoded: dict[str, Any] = msgspec.json.decode(data.removeprefix("data: "))
        assert head == f"event: {decoded['type']}"
        found.append(decoded)
    return found


def play(*frames: Delta, done: Done = DONE) -> tuple[list[dict[str, Any]], Response]:
    """Return all events of an answer, and the response at its end."""
    composer = Composer(DRAFT, "t")
    events = list(composer.opening())
    for frame in frames:
        events += composer.add(frame)
    events += composer.finish(done, 2)
    events += composer.closing()
    return told(events), composer.response


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done"]  # fmt: skip
THOUGHT = ["output_item.added", "content_part.added", "reasoning_text.delta",
           "reasoning_text.done", "content_part.done", "output_item.done"]  # fmt: skip
CALL = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done"]  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((Delta(seq=0, text="a"),), TEXT),
        ((Delta(seq=0, reasoning="r"), Delta(seq=1, text="a")), THOUGHT + TEXT),
        ((Delta(seq=0, reasoning="r", text="a"),), THOUGHT + TEXT),
        ((call(0, "{}", id="c", name="f"),), CALL),
        ((call(0, id="c", name="f"), call(0, "{}")), CALL),
        ((Delta(seq=0, text="a"), call(0, "{}", id="c", name="f")), TEXT + CALL),
        ((call(0, "{}", id="c", name="f"), call(1, "{}", id="d", name="g")), CALL + CALL),
        ((), [kind for kind in TEXT if kind != "output_text.delta"]),
    ],
)
def test_the_order_of_events(frames: tuple[Delta, ...], expected: list[str]) -> None:
    """Items come one after the other, each whole, between the opening and the end."""
    events, _ = play(*frames)
    assert kinds(events) == ["created", "in_progress", *expected, "completed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_events_agree_with_the_response() -> None:
    """Pieces, their sums, the finished items and the response at the end say the same."""
    events, response = play(
        Delta(seq=0, reasoning="let me ", ids=(1, 2)),
        Delta(seq=1, reasoning="see", ids=(3,)),
        Delta(seq=2, text="I ", ids=(4,)),
        Delta(seq=3, text="add"),
        call(0, '{"a"', id="c1", name="add"),
        call(0, ":1}"),
    )
    final = events[-1]["response"]
    done = [event["item"] for event in events if event["type"].endswith("item.done")]
    assert final == msgspec.json.decode(msgspec.json.encode(response))
    assert final["output"] == done
    thought, message, called = final["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "let me see"}]
    assert message["content"][0]["text"] == "I add"
    assert (called["call_id"], called["name"], called["arguments"]) == ("c1", "add", '{"a":1}')
    assert final["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert final["usage"]["total_tokens"] == 9
    added = [event["item"] for event in events if event["type"].endswith("item.added")]
    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert [item["status"] for item in added] == ["in_progress"] * 3
    assert added[1]["content"] == []
    assert added[2]["arguments"] == ""


def test_log_probabilities_are_with_their_text() -> None:
    """They come with the deltas, and again with the whole."""
    one, two = (
        {"token": token, "logprob": -1.0, "bytes": [], "top_logprobs": []} for token in "ab"
    )
    events, _ = play(Delta(seq=0, text="a", logprobs=[one]), Delta(seq=1, text="b", logprobs=[two]))
    deltas = [event["logprobs"] for event in events if event["type"].endswith("text.delta")]
    assert deltas == [[one], [two]]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [one, two]


@pytest.mark.parametrize(
    ("reason", "told_reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_a_shortened_answer_is_incomplete(reason: Any, told_reason: str) -> None:
    """The last item and the response say that there should be more."""
    done = Done(seq=1, finish_reason=reason, usage=Usage())
    events, response = play(Delta(seq=0, text="a"), done=done)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-2]["item"]["status"] == "incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": told_reason}
    assert (response.status, response.completed_at) == ("incomplete", None)


def test_a_failure_ends_the_stream() -> None:
    """The error comes in its own event and in the response, which keeps what had come."""
    composer = Composer(DRAFT, "t")
    before = [*composer.opening(), *composer.add(Delta(seq=0, text="a"))]
    composer.fail(LOST)
    events = told(composer.closing())
    assert kinds(events) == ["error", "failed"]
    assert [event["sequence_number"] for event in events] == [len(before), len(before) + 1]
    assert (events[0]["code"], events[0]["message"]) == ("worker_lost", "gone")
    response = events[1]["response"]
    assert response["error"] == {"code": "server_error", "message": "gone"}
    assert (response["status"], response["store"]) == ("failed", False)
    assert response["output"][0]["status"] == "incomplete"


def test_mixed_calls_are_a_failure() -> None:
    """A call that has ended takes nothing more: its arguments would be wrong."""
    composer = Composer(DRAFT, "t")
    composer.add(call(0, "{", id="c", name="f"))
    composer.add(call(1, "{", id="d", name="g"))
    with pytest.raises(UpstreamMalformed):
        composer.add(call(0, "}"))


def test_calls_without_an_id_get_one() -> None:
    """An upstream that gives no id leaves it to us, unique over the conversation."""
    _, response = play(call(0, "{}", name="f"))
    assert msgspec.to_builtins(response.output[0])["call_id"] == "call_t_0"
