"""Which ``traceparent`` counts, and what is passed on."""

import pytest

from mesh.trace import RANDOM, SAMPLED, TraceContext, clean_state

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_header_is_taken_over() -> None:
    """Trace, span and flags come from the caller, and the same header goes out again."""
    found = TraceContext.parse(GIVEN)
    assert found == TraceContext(TRACE, SPAN, SAMPLED)
    assert found.header == GIVEN


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"{GIVEN}-more",
        f"{GIVEN}\n",
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_an_invalid_header_is_no_header(header: str) -> None:
    """What breaks a rule of the standard is dropped as a whole."""
    assert TraceContext.parse(header) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """Fields that a later version adds are passed over; what goes out is version 00."""
    found = TraceContext.parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings")
    assert found is not None
    assert found.header == GIVEN


def test_unknown_flags_are_not_passed_on() -> None:
    """Only the flags that the standard gives a meaning are kept."""
    found = TraceContext.parse(f"00-{TRACE}-{SPAN}-ff")
    assert found is not None
    assert found.flags == SAMPLED | RANDOM


def test_a_child_stays_in_the_trace() -> None:
    """A new span has an id of its own, the trace and the flags of its parent."""
    parent = TraceContext(TRACE, SPAN, SAMPLED)
    child = parent.child()
    assert (child.trace_id, child.flags) == (TRACE, SAMPLED)
    assert child.span_id != SPAN
    assert TraceContext.parse(child.header) == child


def test_a_new_trace_is_valid_and_not_sampled() -> None:
    """Nobody has recorded it, so nobody downstream is told that somebody has."""
    first, second = TraceContext.new(), TraceContext.new()
    assert TraceContext.parse(first.header) == first
    assert first.trace_id != second.trace_id
    assert not first.flags & SAMPLED


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [("a=1,b@c=2", "a=1,b@c=2"), ("x" * 513, ""), ("a=1\r\nevil: 1", ""), ("a=é", "")],
)
def test_a_tracestate_is_passed_on_if_a_header_can_carry_it(given: str, passed_on: str) -> None:
    """It is opaque, but it adds no header and no line."""
    assert clean_state(given) == passed_on
