"""Deltas put together into the choices of a whole answer."""

from typing import Any

from mesh.gathered import Gathered
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Choice, FunctionCall, ToolCall, Usage

DONE = Done(seq=9, finish_reason="stop", usage=Usage())


def gathered(choices: int, *deltas: Delta) -> list[Choice]:
    gathering = Gathered(choices)
    for delta in deltas:
        gathering.add(delta)
    return list(gathering.choices(DONE))


def said(text: str, index: int = 0, **fields: Any) -> Delta:
    return Delta(seq=0, text=text, index=index, **fields)


def test_choices_are_told_apart() -> None:
    """Each has its own text and end; one that said nothing is there and ended as the whole did."""
    found = gathered(
        3, said("a"), said("x", 1), said("b"), said("", 1, finish_reason="length"), said("no", 3)
    )
    assert found == [
        Choice(text="ab", finish_reason="stop"),
        Choice(text="x", finish_reason="length"),
        Choice(text="", finish_reason="stop"),
    ]


def test_log_probabilities_follow_one_another() -> None:
    """They are there if any came, in the order of the tokens, and of their choice alone."""
    items: list[dict[str, Any]] = [{"token": "a"}, {"token": "b"}]
    one, other = gathered(2, said("a", logprobs=items[:1]), said("b", logprobs=items[1:]))
    assert (one.logprobs, other.logprobs) == (items, None)


def test_calls_are_put_together() -> None:
    """Pieces of a call make one, in the order of their places."""
    pieces = (
        ToolCallDelta(index=1, id="two", name="g", arguments="{"),
        ToolCallDelta(index=0, id="one", name="f", arguments="{}"),
        ToolCallDelta(index=1, arguments="}"),
    )
    (choice,) = gathered(1, *(said("", tool_calls=(piece,)) for piece in pieces))
    assert choice.tool_calls == (
        ToolCall(id="one", function=FunctionCall(name="f", arguments="{}")),
        ToolCall(id="two", function=FunctionCall(name="g", arguments="{}")),
    )
