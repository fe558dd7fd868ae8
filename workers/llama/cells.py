"""How many cells of the KV cache are taken, where sequences share their beginnings. Pure.

The sequences form a tree: what several have in common is a span that all of them go on from.
"""

from collections.abc import Iterable


class Span:
    """A run of cells; ``users``: sequences that end here, and spans that go on from here."""

    __slots__ = ("length", "parent", "users")

    def __init__(self, parent: "Span | None" = None) -> None:
        self.parent = parent
        self.length = 0
        self.users = 1


class Cells:
    """Counts cells; a sequence is known by the span it ends with, which it has for itself."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0

    @property
    def free(self) -> int:
        """Cells that hold nothing."""
        return self.capacity - self.used

    def grow(self, end: Span, count: int) -> None:
        """Add ``count`` cells to a sequence; a negative count takes away what it has for itself."""
        end.length += count
        self.used += count

    def fork(self, end: Span, dropped: int) -> Span:
        """Return the end of a new sequence: all of another's cells but its last ``dropped``."""
        shared = end
        while dropped >= shared.length and shared.parent is not None:
            dropped -= shared.length
            shared = shared.parent
        if shared is end or dropped:
            shared = _split(shared, shared.length - dropped)
        shared.users += 1
        return Span(shared)

    def held_by(self, ends: Iterable[Span]) -> int:
        """Return how many cells some sequences hold, those that they share counted once."""
        spans: dict[int, Span] = {}
        for end in ends:
            span: Span | None = end
            while span is not None and id(span) not in spans:
                spans[id(span)] = span
                span = span.parent
        return sum([span.length for span in spans.values()])

    def release(self, end: Span) -> None:
        """Give up a sequence, and with it the cells that nobody else has."""
        span: Span | None = end
        while span is not None:
            span.users -= 1
            if span.users:
                return
            self.used -= span.length
            span = span.parent


def _split(span: Span, at: int) -> Span:
    """Cut a span in two; return the upper part, which the rest of it goes on from."""
    upper = Span(span.parent)
    upper.length = at
    span.parent = upper
    span.length -= at
    return upper
