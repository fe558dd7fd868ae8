"""How much of a batch is under way: so many lines, and so many bytes of them and their answers."""

from typing import Final

import anyio

MOST_LINES: Final = 256
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one batch; a line that is larger than that goes alone."""


class Window:
    """Lets lines in while there is room, in their order."""

    def __init__(self, lines: int = MOST_LINES, size: int = MOST_BYTES) -> None:
        self._most, self._largest = lines, size
        self._lines, self._bytes = 0, 0
        self._left = anyio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room for a line of ``size`` bytes; for one waiter at a time."""
        while self._lines and not self._has_room(size):
            self._left = anyio.Event()
            await self._left.wait()
        self._lines += 1
        self._bytes += size

    def hold(self, size: int) -> None:
        """Count the answer of a line that is in, until it leaves."""
        self._bytes += size

    def leave(self, size: int) -> None:
        """Make room again; ``size``: of the line and its answer."""
        self._lines -= 1
        self._bytes -= size
        self._left.set()

    def _has_room(self, size: int) -> bool:
        return self._lines < self._most and self._bytes + size <= self._largest
