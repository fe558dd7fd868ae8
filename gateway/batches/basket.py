"""Results on their way into a part: collected until they are many, or have waited for a moment."""

from typing import Final

import anyio

from gateway.batches.parts import LineResult

MOST_LINES: Final = 128
MOST_BYTES: Final = 1024 * 1024
"""Of one part; a part has one line at least, however long that is."""
WITHIN: Final = 1.0
"""Seconds that a result waits for others: so old are the counts that clients see."""


class Basket:
    """Takes results in, in any order, and gives them out by the part."""

    def __init__(self) -> None:
        self._results: list[LineResult] = []
        self._bytes = 0
        self._closed = False
        self._changed = anyio.Event()

    def add(self, result: LineResult) -> None:
        """Take a result in."""
        self._results.append(result)
        self._bytes += len(result.text)
        self._changed.set()

    def close(self) -> None:
        """Say that no more will come."""
        self._closed = True
        self._changed.set()

    async def ripe(self) -> bool:
        """Wait until a part is due; false: there will be none any more."""
        while not self._results:
            if self._closed:
                return False
            await self._change()
        with anyio.move_on_after(WITHIN):
            while not self._closed and not self._full:
                await self._change()
        return True

    def take(self) -> list[LineResult]:
        """Return the results of one part."""
        count, size = 0, 0
        for result in self._results[:MOST_LINES]:
            if count and size + len(result.text) > MOST_BYTES:
                break
            count, size = count + 1, size + len(result.text)
        taken, self._results = self._results[:count], self._results[count:]
        self._bytes -= size
        return taken

    @property
    def _full(self) -> bool:
        return len(self._results) >= MOST_LINES or self._bytes >= MOST_BYTES

    async def _change(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()
