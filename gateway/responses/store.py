"""Where responses are kept: bytes under keys, with revisions, so that gateways can share them.

``mesh.buckets.Bucket`` is such a store. ``MemoryStore`` serves a gateway whose broker keeps
nothing: bounded, forgotten with the process, and shared with nobody.
"""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from mesh.buckets import Bucket, BucketSettings, Entry
from mesh.clock import Clock, monotonic
from mesh.errors import Conflict, StoreError
from mesh.inbox import Switchboard
from mesh.storage import Store

log = structlog.get_logger("gateway.responses")

MEBIBYTE: Final = 1024 * 1024
FOR_EVER: Final = float("inf")
LONGEST_TTL: Final = 366 * 24 * 3600.0
"""Seconds that a response may be kept; then the marks that deletions leave go, too."""
RESPONSES: Final = BucketSettings(name=Store.RESPONSES, max_bytes=1024 * MEBIBYTE, ttl=LONGEST_TTL)
"""The bucket, to be made by whoever runs the broker: gateways may not make any."""


class ResponseStore(Protocol):
    """Keeps entries; every method may raise ``StoreError`` or ``BusError``.

    A revision is the number of the change that an entry was last written by; ``ttl`` is in seconds,
    at least one, ``None`` for as long as the store keeps anything.
    """

    async def get(self, key: str) -> Entry | None:
        """Return an entry, ``None`` if there is none."""
        ...

    async def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write an entry that does not exist and return its revision; raises ``Conflict``."""
        ...

    async def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Write an entry whose last change is ``revision``; raises ``Conflict`` if it is not."""
        ...

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove an entry, if it is there."""
        ...


@dataclass(frozen=True)
class _Held:
    entry: Entry
    expires_at: float


class MemoryStore:
    """Keeps the newest entries inside the process.

    max_entries, max_bytes: of all entries together; the oldest go first.
    """

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * MEBIBYTE,
        clock: Clock = monotonic,
    ) -> None:
        self._max_entries, self._max_bytes, self._clock = max_entries, max_bytes, clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._bytes = 0
        self._revisions = itertools.count(1)

    async def get(self, key: str) -> Entry | None:
        """Return an entry that has not expired."""
        held = self._held.get(key)
        if held is not None and held.expires_at <= self._clock():
            self._drop(key)
            return None
        return None if held is None else held.entry

    async def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write an entry that does not exist."""
        if await self.get(key) is not None:
            raise Conflict(f"the entry {key!r} exists already")
        return self._write(key, value, ttl)

    async def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Write an entry that nobody else has changed."""
        entry = await self.get(key)
        if entry is None or entry.revision != revision:
            raise Conflict(f"the entry {key!r} has changed meanwhile")
        return self._write(key, value, ttl)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove an entry."""
        entry = await self.get(key)
        if entry is None:
            return
        if revision not in (None, entry.revision):
            raise Conflict(f"the entry {key!r} has changed meanwhile")
        self._drop(key)

    async def entries(self) -> dict[str, Entry]:
        """Return the entries that have not expired, by key."""
        found = [await self.get(key) for key in tuple(self._held)]
        return {entry.key: entry for entry in found if entry is not None}

    def _write(self, key: str, value: bytes, ttl: float | None) -> int:
        self._drop(key)
        entry = Entry(key, value, next(self._revisions))
        expires_at = FOR_EVER if ttl is None else self._clock() + ttl
        self._held[key] = _Held(entry, expires_at)
        self._bytes += len(value)
        while len(self._held) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._held)))
        return entry.revision

    def _drop(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._bytes -= len(held.entry.value)


async def store_at(bus: Switchboard) -> ResponseStore:
    """Return the mesh's store, or a gateway's own memory where its broker has no such bucket."""
    bucket = Bucket(bus, RESPONSES)
    try:
        await bucket.peek("is it there?")
    except StoreError as error:
        log.warning("responses.in_memory", reason=error.message)
        return MemoryStore()
    return bucket
