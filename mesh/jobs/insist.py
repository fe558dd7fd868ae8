"""Writing to a broker that may be away at the moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from mesh.clock import Clock, monotonic
from mesh.errors import BusError, Conflict, PayloadTooLarge, StoreError

T = TypeVar("T")

STORE_WITHIN = 120.0
"""Seconds for which something is offered to a broker that does not take it."""
LONGEST_PAUSE = 2.0


async def insist(write: Callable[[], Awaitable[T]], clock: Clock = monotonic) -> T:
    """Repeat a write that the broker did not acknowledge, for as long as that makes sense.

    Raises ``Conflict`` and ``PayloadTooLarge`` at once, other errors of the broker in the end.
    """
    deadline, pause = clock() + STORE_WITHIN, 0.05
    while True:
        try:
            return await write()
        except (Conflict, PayloadTooLarge):
            raise
        except (BusError, StoreError):
            if clock() >= deadline:
                raise
        await anyio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
