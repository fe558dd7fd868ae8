"""The lease of a background response, or of a batch: an entry that only a living gateway keeps.

Whoever runs the response renews it every second; it expires by itself when that gateway is gone.
To cancel a response from elsewhere its lease is revoked: the next renewal finds it changed. So one
entry tells both ways, and no clocks are compared.
"""

import secrets
from typing import Final

import anyio
import structlog

from gateway.responses.store import ResponseStore
from mesh.errors import BusError, Conflict, StoreError

log = structlog.get_logger("gateway.responses")

RENEW_EVERY: Final = 1.0
"""Seconds; how long a response runs on at most after another gateway has cancelled it."""
LASTS: Final = 10.0
"""Seconds after the last renewal until a response counts as lost."""


def lease_key(response_key: str) -> str:
    """Return where the lease of a response is."""
    return f"{response_key}/lease"


def is_lease(key: str) -> bool:
    """Tell whether a key is that of a lease."""
    return key.endswith("/lease")


class Lease:
    """Held by the gateway that runs a response."""

    def __init__(self, store: ResponseStore, response_key: str, lasts: float | None = None) -> None:
        """``lasts``: seconds after the last renewal until it is lost; default: ``LASTS``."""
        self._store, self._key = store, lease_key(response_key)
        self._lasts = LASTS if lasts is None else lasts
        self._mark = secrets.token_hex(8).encode()
        self._revision = 0

    async def take(self) -> None:
        """Take the lease before anybody can know of the response; raises ``StoreError``."""
        self._revision = await self._store.create(self._key, self._mark, self._lasts)

    async def hold(self) -> None:
        """Renew until the lease is found revoked or expired, and return then.

        While the store is out of reach the response runs on: its last write decides.
        """
        while True:
            await anyio.sleep(RENEW_EVERY)
            try:
                if not await self._renew():
                    return
            except (StoreError, BusError) as error:
                log.warning("lease.unrenewed", key=self._key, reason=error.code.value)

    async def _renew(self) -> bool:
        """Renew, and tell whether the lease is still ours.

        A renewal that seemed to fail may have been written: then the change is our own.
        """
        try:
            self._revision = await self._store.update(
                self._key, self._mark, self._revision, self._lasts
            )
        except Conflict:
            entry = await self._store.get(self._key)
            if entry is None or entry.value != self._mark:
                return False
            self._revision = entry.revision
        return True

    async def give_back(self) -> None:
        """End the lease, when the response has ended."""
        await revoke(self._store, self._key)


async def is_held(store: ResponseStore, response_key: str) -> bool:
    """Tell whether somebody runs the response; raises ``StoreError``."""
    return await store.get(lease_key(response_key)) is not None


async def revoke(store: ResponseStore, key: str) -> None:
    """Take a lease away; it would expire anyway, so a store out of reach is no failure."""
    try:
        await store.delete(key)
    except (StoreError, BusError) as error:
        log.warning("lease.unrevoked", key=key, reason=error.code.value)
