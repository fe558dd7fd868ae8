"""Which requests of a file are answered, in a form that stays small. Pure.

They are known by their places, and not by the numbers of their lines, so that lines that hold
nothing neither take room nor come in between. Answers come in any order, but hardly: what is
missing below the last one that came lies within the window of what is under way. So a few ranges
say it all, however long the file is.
"""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Pairs of the first and the last place of requests that follow one another."""


class Progress:
    """The places of requests that are answered; they count from 1."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._done = bytearray(1)
        for first, last in ranges:
            self._reach(last)
            self._done[first : last + 1] = b"\1" * (last + 1 - first)

    def __contains__(self, place: int) -> bool:
        return place < len(self._done) and self._done[place] == 1

    def add(self, place: int) -> None:
        """Note that a request is answered."""
        self._reach(place)
        self._done[place] = 1

    def ranges(self) -> Ranges:
        """Return what is answered."""
        found: list[tuple[int, int]] = []
        first = self._done.find(1)
        while first > 0:
            end = self._done.find(0, first)
            last = (len(self._done) if end < 0 else end) - 1
            found.append((first, last))
            first = self._done.find(1, last + 1)
        return tuple(found)

    def _reach(self, place: int) -> None:
        missing = place + 1 - len(self._done)
        if missing > 0:
            self._done.extend(bytes(missing))
