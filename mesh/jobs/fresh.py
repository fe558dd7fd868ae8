"""Records that a runner's own desk has just written, which it need not read back to execute them.

What is here may have changed at the broker since. Whoever executes it finds out: the claim of a job
is compare-and-set, and one that fails leads to the record as it is.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.jobs.store import Kept
from schemas.jobs import JobPointer, JobRecord

MOST = 256
"""Records kept; of a longer queue the newest, which are read back then, for their turn is later."""
LARGEST = 16 * 1024
"""Bytes of an order whose record is kept."""

Key = tuple[str, str]


class Fresh:
    """Hands each record on once, also one that is being written while its message comes."""

    def __init__(self) -> None:
        self._records: dict[Key, asyncio.Future[Kept | None]] = {}

    @contextmanager
    def writing(self, record: JobRecord, size: int) -> Iterator[Callable[[Kept], None]]:
        """Expect a record inside the context, of an order of ``size`` bytes.

        Yields what to call with it once it is written; it never will be if the context ends before.
        """
        written: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
        key = (record.tenant, record.id)
        if size <= LARGEST:
            self._records[key] = written
            if len(self._records) > MOST:
                del self._records[next(iter(self._records))]

        def tell(kept: Kept | None) -> None:
            if not written.done():  # whoever waited for it may have been cancelled
                written.set_result(kept)

        try:
            yield tell
        finally:
            if not written.done():
                self._records.pop(key, None)
            tell(None)

    async def take(self, pointer: JobPointer) -> Kept | None:
        """Return the record of a job and forget it; ``None`` if it is to be read at the broker."""
        written = self._records.pop((pointer.tenant, pointer.id), None)
        return None if written is None else await written
