from typing import Any

import msgspec
import pytest

from mesh.errors import UpstreamError, UpstreamMalformed
from schemas.frames import ToolCallDelta
from schemas.inference import Usage
from schemas.openai.upstream import Chunk
from tests.support.faulty_upstream import chunk, token
from workers.engine import Piece
from workers.upstream.answer import Answer


def read(*chunks: dict[str, Any], choices: int = 1) -> tuple[Answer, list[Piece]]:
    pieces: list[Piece] = []
    answer = Answer(choices, 40, pieces.append)
    for each in chunks:
        answer.take(msgspec.convert(each, Chunk))
    return answer, pieces


def end(reason: str, index: int = 0) -> dict[str, Any]:
    return chunk({}, finish_reason=reason, index=index)


def test_text_becomes_pieces() -> None:
    """Each chunk with output is a piece; role, empty and usage chunks are none."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}
    answer, pieces = read(
        chunk({"role": "assistant", "content": ""}),
        token(0),
        token(1),
        end("stop"),
        {"choices": [], "usage": usage},
    )

    assert pieces == [Piece("0 "), Piece("1 ")]
    assert answer.finish().reason == "stop"
    assert answer.finish().usage == Usage(prompt_tokens=5, completion_tokens=2)


def test_cached_tokens_are_carried() -> None:
    """Tokens that the upstream took from its cache are told."""
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    answer, _ = read(token(0), {"usage": usage})

    assert answer.usage.cached_tokens == 4


def test_usage_is_counted_where_it_is_not_told() -> None:
    """A token per piece or per four bytes, whichever is more."""
    answer, _ = read(token(0), token(1), chunk({"content": "x" * 40}), end("stop"))

    assert answer.finish().usage == Usage(prompt_tokens=10, completion_tokens=11)


def test_choices_end_one_by_one() -> None:
    """With several choices each has its index, and its last piece the reason it ended."""
    answer, pieces = read(token(0, 1), token(0, 0), end("length", 1), end("stop", 0), choices=2)

    assert pieces == [
        Piece("0 ", index=1),
        Piece("0 ", index=0),
        Piece(index=1, finish_reason="length"),
        Piece(index=0, finish_reason="stop"),
    ]
    assert answer.finish().reason == "stop"


def test_an_unfinished_choice_is_no_answer() -> None:
    """All choices must have ended."""
    answer, _ = read(token(0, 0), end("stop", 0), choices=2)

    with pytest.raises(UpstreamMalformed, match="1 of 2"):
        answer.finish()


def test_a_choice_that_was_not_asked_for_is_malformed() -> None:
    """Indexes lie within what was asked."""
    with pytest.raises(UpstreamMalformed):
        read(token(0, 1))


@pytest.mark.parametrize("reason", ["abort", "error", "network_error"])
def test_a_bad_end_is_no_finish(reason: str) -> None:
    """An upstream that gave up has not finished."""
    with pytest.raises(UpstreamMalformed):
        read(token(0), end(reason))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
    ],
)
def test_finish_reasons_are_translated(told: str, reason: str) -> None:
    """Older and foreign names map to the four of the mesh."""
    answer, _ = read(token(0), end(told))

    assert answer.finish().reason == reason


def test_an_error_event_is_an_error_without_its_text() -> None:
    """What the upstream says stays here."""
    with pytest.raises(UpstreamError) as raised:
        read(token(0), {"error": {"message": "sensitive"}})

    assert "sensitive" not in str(raised.value)


def test_reasoning_by_either_name() -> None:
    """Reasoning text is kept apart from the answer."""
    _, pieces = read(chunk({"reasoning_content": "hm "}), chunk({"reasoning": "so "}))

    assert pieces == [Piece(reasoning="hm "), Piece(reasoning="so ")]


def test_a_refusal_is_the_text() -> None:
    """A model that declines says so to the reader."""
    _, pieces = read(chunk({"content": None, "refusal": "I will not."}))

    assert pieces == [Piece("I will not.")]


def test_logprobs_are_carried() -> None:
    """Log-probabilities pass as they are."""
    item = {"token": "0 ", "logprob": -0.5, "bytes": [48, 32], "top_logprobs": []}
    _, pieces = read(chunk({"content": "0 "}, logprobs={"content": [item]}))

    assert pieces == [Piece("0 ", logprobs=[item])]


def call(index: int | None, id_: str | None, name: str | None, text: str) -> dict[str, Any]:
    part = {"index": index, "id": id_, "function": {"name": name, "arguments": text}}
    return chunk({"tool_calls": [part]})


def deltas(*chunks: dict[str, Any]) -> list[ToolCallDelta]:
    return [delta for piece in read(*chunks)[1] for delta in piece.tool_calls]


def test_tool_calls_come_in_pieces() -> None:
    """Id and name come once, also from upstreams that repeat them."""
    assert deltas(
        call(0, "c1", "add", ""), call(0, None, None, '{"a"'), call(0, "c1", "add", ":1}")
    ) == [
        ToolCallDelta(index=0, id="c1", name="add"),
        ToolCallDelta(index=0, arguments='{"a"'),
        ToolCallDelta(index=0, arguments=":1}"),
    ]


@pytest.mark.parametrize("indexes", [(0, 1), (3, 7), (None, None), (0, 0)])
def test_tool_calls_are_numbered_from_zero(indexes: tuple[int | None, int | None]) -> None:
    """Whatever indexes the upstream gives, or none, calls with ids of their own are apart."""
    first, second = indexes

    assert deltas(call(first, "c1", "add", "{}"), call(second, "c2", "sub", "{}")) == [
        ToolCallDelta(index=0, id="c1", name="add", arguments="{}"),
        ToolCallDelta(index=1, id="c2", name="sub", arguments="{}"),
    ]


def test_a_tool_call_without_an_id_gets_one() -> None:
    """A result can only be sent back to a call that has an id."""
    (delta,) = deltas(call(0, None, "add", "{}"))

    assert delta.id
