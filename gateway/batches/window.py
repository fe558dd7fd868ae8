"""How much of a batch is under way: so many jobs, and so many bytes of lines and their answers."""

from typing import Final

import anyio

MOST_JOBS: Final = 256
"""Of one batch. A line has room for all of its jobs before one of them is submitted, or lines that
wait for the rest of theirs could fill the window for good."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one batch; a line that is larger than that goes alone."""


class Window:
    """Lets lines in while there is room, in their order."""

    def __init__(self, jobs: int = MOST_JOBS, size: int = MOST_BYTES) -> None:
        self._most, self._largest = jobs, size
        self._jobs, self._bytes = 0, 0
        self._left = anyio.Event()

    async def enter(self, size: int, jobs: int = 1) -> None:
        """Wait until there is room for a line of ``size`` bytes; for one waiter at a time."""
        while self._jobs and not self._has_room(size, jobs):
            self._left = anyio.Event()
            await self._left.wait()
        self._jobs += jobs
        self._bytes += size

    def hold(self, size: int) -> None:
        """Count the answer of a line that is in, until it leaves."""
        self._bytes += size

    def leave(self, size: int, jobs: int = 1) -> None:
        """Make room again; ``size``: of the line and its answer."""
        self._jobs -= jobs
        self._bytes -= size
        self._left.set()

    def _has_room(self, size: int, jobs: int) -> bool:
        return self._jobs + jobs <= self._most and self._bytes + size <= self._largest
