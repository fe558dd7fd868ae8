"""What is kept of sequences outside the KV cache, where they share their beginnings. Pure.

The sequences form a tree: what several have in common is a span that all of them go on from, and
is held once. Memory is counted in bytes.
"""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]
"""Keys and values ``[tokens, bytes]``, or a whole sequence that cannot be cut ``[bytes]``."""

NOTHING: Rows = np.empty((0, 0), np.uint8)


class Span:
    """A run of tokens; ``users``: sequences that end here, and spans that go on from here."""

    __slots__ = ("length", "parent", "rows", "users")

    def __init__(self, parent: "Span | None" = None, length: int = 0, rows: Rows = NOTHING) -> None:
        self.parent = parent
        self.length = length
        self.rows = rows
        self.users = 1


class Bank:
    """Holds rows; a sequence is known by the span it ends with."""

    def __init__(self, capacity: int) -> None:
        """``capacity``: bytes."""
        self.capacity = capacity
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that hold nothing."""
        return self.capacity - self.used

    def fork(self, end: Span, length: int) -> Span:
        """Return the span that holds the first ``length`` tokens of a sequence, for one more."""
        dropped = _length(end) - length
        shared = end
        while dropped >= shared.length and shared.parent is not None:
            dropped -= shared.length
            shared = shared.parent
        if dropped:
            shared = _split(shared, shared.length - dropped)
        shared.users += 1
        return shared

    def add(self, parent: Span | None, length: int, rows: Rows) -> Span:
        """Return the end of a sequence that goes on from ``parent``, which is its from now on."""
        self.used += rows.nbytes
        return Span(parent, length, rows)

    def release(self, end: Span) -> None:
        """Give up a sequence, and with it what nobody else has."""
        span: Span | None = end
        while span is not None:
            span.users -= 1
            if span.users:
                return
            self.used -= span.rows.nbytes
            span = span.parent


def rows_of(end: Span, length: int) -> list[Rows]:
    """Return the rows of the first ``length`` tokens of a sequence, piece by piece.

    A sequence that cannot be cut is one piece, whatever the length.
    """
    pieces: list[Rows] = []
    span: Span | None = end
    start = _length(end)
    while span is not None:
        start -= span.length
        if start < length:
            pieces.append(span.rows if span.rows.ndim == 1 else span.rows[: length - start])
        span = span.parent
    return pieces[::-1]


def _length(end: Span) -> int:
    length, span = 0, end.parent
    while span is not None:
        length += span.length
        span = span.parent
    return length + end.length


def _split(span: Span, at: int) -> Span:
    """Cut a span in two; return the upper part, which the rest of it goes on from.

    Both get memory of their own, so that each can be given up.
    """
    upper = Span(span.parent, at, span.rows[:at].copy())
    span.parent, span.length, span.rows = upper, span.length - at, span.rows[at:].copy()
    return upper
