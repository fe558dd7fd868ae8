"""Which sequence has which of llama.cpp's streams, and what the others still hold.

What a sequence leaves in its stream stays there until somebody else needs the stream: whoever goes
on from just that, as the next turn of a conversation does, need not have it copied back.
"""

from bisect import insort
from collections.abc import Hashable
from collections.abc import Sequence as Items
from typing import Protocol

import msgspec


class Cells(Protocol):
    """What llama.cpp does to the cells of a stream."""

    def trim(self, slot: int, length: int) -> bool:
        """Shorten a sequence; return whether that was possible."""
        ...

    def forget(self, slot: int) -> None:
        """Empty a sequence."""
        ...


class Remains(msgspec.Struct, frozen=True):
    """What a sequence has left in its stream."""

    domain: Hashable
    """Who may go on from it."""
    tokens: list[int]


class Streams:
    """The streams by their numbers; those that are taken are neighbours wherever possible.

    llama.cpp computes neighbours together, and reads all weights once more after each gap.
    """

    def __init__(self, cells: Cells, count: int) -> None:
        self._cells = cells
        self._taken: list[int] = []
        self._free = list(range(count))
        self._remains: dict[int, Remains] = {}
        """Of free streams, the oldest first."""

    @property
    def num_free(self) -> int:
        """Streams that nobody has."""
        return len(self._free)

    def take(self, wanted: Remains, *, whole: bool) -> tuple[int, int]:
        """Return a stream, and how many of the wanted tokens it holds: all or none.

        ``whole``: what remains cannot be cut.
        """
        near = self._near()
        for slot in near:
            if self._begins_with(slot, wanted, whole=whole):
                self._take(slot)
                if self._cells.trim(slot, len(wanted.tokens)) or whole:
                    return slot, len(wanted.tokens)
                self._cells.forget(slot)
                return slot, 0
        # Rather an empty one than any, and rather what was left longest ago.
        empty = [slot for slot in near if slot not in self._remains]
        slot = next(slot for slot in [*empty, *self._remains] if slot in near)
        self.empty(slot)
        self._take(slot)
        return slot, 0

    def give_back(self, slot: int, remains: Remains | None = None) -> None:
        """Have a stream free; without remains it is emptied."""
        self._taken.remove(slot)
        insort(self._free, slot)
        if remains is None:
            self._cells.forget(slot)
        else:
            self._remains[slot] = remains

    def exchange(self, slot: int, other: int) -> None:
        """Note that what was in a stream is in a free one now."""
        self._take(other)
        self._taken.remove(slot)
        insort(self._free, slot)

    def gap(self, first: int) -> int:
        """Return the first free stream after a taken one."""
        return next(slot for slot in self._free if slot > first)

    def empty(self, slot: int) -> None:
        """Remove what was left in a free stream."""
        if self._remains.pop(slot, None) is not None:
            self._cells.forget(slot)

    def idle_beside(self, slots: Items[int], count: int) -> list[int]:
        """Return so many free streams before or after these neighbours, emptied, or none."""
        first, last = slots[0], slots[-1]
        if last - first >= len(slots):
            return []
        after = range(last + 1, last + 1 + count)
        before = range(first - count, first)
        for idle in (after, before):
            if all(slot in self._free for slot in idle):
                for slot in idle:
                    self.empty(slot)
                return [*idle]
        return []

    def _near(self) -> list[int]:
        """Return the free streams that leave no gap, or all if there is none."""
        if not self._taken:
            return self._free
        first, last = self._taken[0] - 1, self._taken[-1] + 1
        return [slot for slot in self._free if first <= slot <= last] or self._free

    def _begins_with(self, slot: int, wanted: Remains, *, whole: bool) -> bool:
        remains = self._remains.get(slot)
        if remains is None or not wanted.tokens or remains.domain != wanted.domain:
            return False
        if whole:
            return remains.tokens == wanted.tokens
        return remains.tokens[: len(wanted.tokens)] == wanted.tokens

    def _take(self, slot: int) -> None:
        self._free.remove(slot)
        self._remains.pop(slot, None)
        insort(self._taken, slot)
