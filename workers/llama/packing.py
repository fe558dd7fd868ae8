"""Which inputs go into the next batch: as many whole ones as fit, in turn between attempts."""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """An attempt whose inputs are computed in order."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each input that is still to be computed."""
        ...


Q = TypeVar("Q", bound=Queued)


class _Line(Generic[Q]):
    """One attempt, and how many of its inputs the batch holds."""

    def __init__(self, queued: Q) -> None:
        self.queued, self._lengths = queued, queued.lengths
        self.count = 0

    @property
    def next(self) -> int | None:
        """Tokens of the next input, ``None`` after the last."""
        return self._lengths[self.count] if self.count < len(self._lengths) else None


def pack(attempts: Iterable[Q], *, tokens: int, sequences: int) -> list[tuple[Q, int]]:
    """Return how many inputs each attempt gets into the batch, in the order given.

    The first attempt gets an input in any case, also one that is longer than ``tokens``; whoever
    puts another attempt first every time starves nobody. Inputs of one attempt stay in order.
    """
    lines = [_Line(queued) for queued in attempts]
    waiting = lines
    is_empty = True
    while waiting and sequences:
        served = []
        for line in waiting[:sequences]:
            length = line.next
            if length is None or not (is_empty or length <= tokens):
                continue
            is_empty = False
            line.count += 1
            tokens -= length
            sequences -= 1
            served.append(line)
        waiting = served
    return [(line.queued, line.count) for line in lines if line.count]
