from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import UpstreamMalformed
from workers.upstream.sse_reader import Event, SseReader


def datas(*received: bytes, max_bytes: int = 1000) -> list[bytes]:
    reader = SseReader(max_bytes)
    events = [event for part in received for event in reader.feed(part)]
    return [event.data for event in events + reader.end()]


def test_reads_one_event_per_blank_line() -> None:
    """Events end at blank lines; the blank after the colon is optional."""
    assert datas(b"data: one\n\ndata:two\n\n") == [b"one", b"two"]


def test_skips_comments_and_unknown_fields() -> None:
    """Keep-alive comments, ids and retry hints are no events."""
    assert datas(b": ping\n\nid: 7\nretry: 10\ndata: one\n\n: ping\n\n") == [b"one"]


def test_joins_the_lines_of_an_event() -> None:
    """Several data lines make one event."""
    assert datas(b"data: one\r\ndata: two\r\n\r\n") == [b"one\ntwo"]


def test_names_events() -> None:
    """The event field names the event it belongs to, and no other."""
    events = SseReader(1000).feed(b"event: error\ndata: 1\n\ndata: 2\n\n")

    assert events == [Event("error", b"1"), Event("", b"2")]


def test_takes_a_last_event_without_a_blank_line() -> None:
    """A server that ends right after its last line is understood."""
    assert datas(b"data: one\n\ndata: [DONE]") == [b"one", b"[DONE]"]


@given(st.lists(st.integers(0, 40)))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    """However the bytes are cut on their way, the events are the same."""
    stream = b"data: one\r\n\r\n: ping\n\ndata: two\ndata: 2\n\n"
    edges = [0, *sorted(cuts), len(stream)]
    parts = [stream[start:end] for start, end in pairwise(edges)]

    assert datas(*parts) == [b"one", b"two\n2"]


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 400, b"data: x\n" * 60, b"x" * 400, b"event: " + b"x" * 400]
)
def test_an_endless_event_is_an_error(endless: bytes) -> None:
    """Neither a long line nor many short ones grow without bound."""
    with pytest.raises(UpstreamMalformed):
        datas(*[endless] * 100)
