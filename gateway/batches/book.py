"""The batches of all tenants, and which of them are under way.

A batch that is under way has a marker, which any gateway finds without looking at any record, and a
lease beside it while a living gateway drives it. The marker is written before the record and goes
when all is done, so that no batch is ever without somebody who will find it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.batches.kept import BATCHES, BatchNotFound, BatchRecord, is_id
from gateway.files.kept import FileRecord
from gateway.responses.lease import Lease, is_lease, lease_key
from gateway.stored import Records
from mesh.buckets import MEBIBYTE, Bucket, BucketSettings
from mesh.errors import Conflict
from mesh.inbox import Switchboard
from mesh.storage import Store
from schemas.wire import Message, encode

RECORDS: Final = BucketSettings(name=Store.BATCHES, max_bytes=128 * MEBIBYTE)
WORK: Final = BucketSettings(name=Store.BATCH_WORK, max_bytes=16 * MEBIBYTE, ttl=7 * 24 * 3600.0)
"""The buckets, to be made by whoever runs the broker. A batch is over after a day; what is left of
it after a week, because nobody ran all the time, goes by itself."""
LEASE: Final = 5.0
"""Seconds after the last sign of life of a gateway until another one takes its batches over."""
TRIES: Final = 5
ORPHAN_AFTER: Final = 60.0
"""Seconds after which a marker without a record belongs to a batch that was never made."""


class Marker(Message, frozen=True, kw_only=True):
    """Says that a batch is under way; ``file``: that it reads."""

    batch: str
    tenant: str
    file: str
    created_ms: int

    @property
    def is_old(self) -> bool:
        """Whether the record must be there by now."""
        return time.time() - self.created_ms / 1000 > ORPHAN_AFTER


_MARKERS: Final = Records(Marker)


@dataclass(frozen=True)
class Kept:
    """A record, and the revision that a change of it must name."""

    record: BatchRecord
    revision: int


@dataclass(frozen=True)
class Open:
    """The batches under way, and the ids of those that somebody drives."""

    markers: tuple[Marker, ...]
    held: frozenset[str]


class Book:
    """Reads and writes batches; methods raise ``StoreError`` and ``BusError``."""

    def __init__(self, bus: Switchboard, ttl: float) -> None:
        """``ttl``: seconds for which a batch that has ended can be looked up."""
        self._records, self._work, self._ttl = Bucket(bus, RECORDS), Bucket(bus, WORK), ttl

    async def add(self, record: BatchRecord) -> None:
        """Write a new batch; from then on it is driven until it ends."""
        marker = Marker(
            batch=record.id,
            tenant=record.tenant,
            file=record.file.id,
            created_ms=record.created_ms,
        )
        await self._work.create(record.id, encode(marker))
        await self._records.within(record.tenant).create(record.id, encode(record))

    async def find(self, tenant: str, batch_id: str) -> Kept:
        """Return a batch; raises ``BatchNotFound``."""
        entry = await self._records.within(tenant).get(batch_id) if is_id(batch_id) else None
        if entry is None:
            raise BatchNotFound(batch_id)
        return Kept(BATCHES.read(entry), entry.revision)

    async def of_tenant(self, tenant: str) -> list[BatchRecord]:
        """Return a tenant's batches, the oldest first."""
        entries = (await self._records.within(tenant).entries()).values()
        return sorted(BATCHES.readable(entries), key=lambda record: (record.created_ms, record.id))

    async def change(self, kept: Kept, record: BatchRecord) -> Kept:
        """Write a batch anew; raises ``Conflict`` if it is no longer as it was kept."""
        ttl = self._ttl if record.status.final else None
        bucket = self._records.within(record.tenant)
        return Kept(record, await bucket.update(record.id, encode(record), kept.revision, ttl))

    async def insist(
        self, tenant: str, batch_id: str, change: Callable[[BatchRecord], BatchRecord]
    ) -> BatchRecord:
        """Change a batch that others change, too; ``change`` sees it as it then is."""
        for _ in range(TRIES):
            kept = await self.find(tenant, batch_id)
            record = change(kept.record)
            if record == kept.record:
                return record
            try:
                return (await self.change(kept, record)).record
            except Conflict:
                continue
        raise Conflict("the batch changes too fast; retry")

    async def open(self) -> Open:
        """Return what is under way."""
        entries = await self._work.entries()
        markers = _MARKERS.readable(entry for key, entry in entries.items() if not is_lease(key))
        held = frozenset(key.rpartition("/")[0] for key in entries if is_lease(key))
        ordered = sorted(markers, key=lambda marker: (marker.created_ms, marker.batch))
        return Open(tuple(ordered), held)

    async def reader_of(self, file: FileRecord) -> str | None:
        """Return the id of a batch under way that reads a file, ``None`` if none does."""
        markers = (await self.open()).markers
        users = (each.batch for each in markers if (each.tenant, each.file) == _name(file))
        return next(users, None)

    def lease(self, batch_id: str) -> Lease:
        """Return the lease of a batch, to be taken."""
        return Lease(self._work, batch_id, LEASE)

    async def release(self, batch_id: str) -> None:
        """Let the lease go at once, without leaving a mark that every look would pass over."""
        await self._work.purge(lease_key(batch_id))

    async def close(self, batch_id: str) -> None:
        """Note that there is nothing left to be done for a batch."""
        await self._work.purge(batch_id)


def _name(file: FileRecord) -> tuple[str, str]:
    return file.tenant, file.id
