"""Clearing away files that have expired, and what those left behind who died over a file."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from gateway.files.cabinet import Cabinet
from gateway.files.kept import FileRecord
from gateway.files.upload import WITHIN
from mesh.errors import BusError, StoreError

log = structlog.get_logger("gateway.files")

EVERY: Final = 600.0
"""Seconds between two looks at all files, on the average; an expired one is hidden at once."""
LONGEST: Final = 2 * WITHIN
"""Seconds after which a file that is still arriving was given up."""


class Sweeper:
    """Looks through all files now and then; any number of gateways may do so at once."""

    def __init__(
        self, cabinet: Cabinet, used_by: Callable[[FileRecord], Awaitable[str | None]]
    ) -> None:
        """``used_by`` names the batch that still reads a file: it is left alone until then."""
        self._cabinet, self._used_by = cabinet, used_by

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            await anyio.sleep(random.uniform(0.5, 1.5) * EVERY)  # noqa: S311 - jitter
            try:
                await self.sweep()
            except (StoreError, BusError) as error:
                log.info("files.unswept", reason=error.code.value)

    async def sweep(self) -> int:
        """Clear away what nobody may see any more, and return how much that was."""
        now = time.time()
        waste = [each for each in await self._cabinet.everything() if each.is_waste(now, LONGEST)]
        swept = 0
        for record in waste:
            if await self._used_by(record) is None:
                await self._cabinet.remove(record)
                swept += 1
        return swept
