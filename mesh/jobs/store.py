"""The records of jobs at the broker, changed by compare-and-set alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mesh.buckets import Bucket, BucketSettings, Entry
from mesh.bus import Bus
from mesh.errors import Conflict, JobNotFound, StoreError
from mesh.inbox import Switchboard
from mesh.jobs.settings import JobSettings
from mesh.storage import Store
from schemas.jobs import JobKey, JobRecord
from schemas.wire import decoder, encode

_records = decoder(JobRecord)
_keys = decoder(JobKey)


class Unsettled(StoreError):
    """What was written a moment ago cannot be read yet; repeat."""


@dataclass(frozen=True)
class Kept:
    """A record, and the revision that a change of it must name."""

    record: JobRecord
    revision: int


class JobStore:
    """Records and idempotency keys; every method raises as ``Bucket``'s.

    Any server of a cluster answers a read, also one that lags behind: what is read may be old, and
    what is decided on it must stand the compare-and-set, or do no harm. What is missing there is
    asked for again, of the leader.
    """

    def __init__(self, bus: Bus, retention: float, timeout: float = 5.0) -> None:
        """Keep final records for ``retention`` seconds; ``timeout``: as ``Bucket``'s."""
        self._records = Bucket(bus, BucketSettings(name=Store.JOBS), timeout)
        self._keys = Bucket(bus, BucketSettings(name=Store.JOB_KEYS), timeout)
        self._retention = retention

    async def get(self, tenant: str, job: str) -> Kept:
        """Return a job; raises ``JobNotFound``, also for that of another tenant."""
        kept = await self.find(tenant, job)
        if kept is None:
            raise JobNotFound(f"there is no job {job!r}", param="id")
        return kept

    async def find(self, tenant: str, job: str) -> Kept | None:
        """Return a job, ``None`` if there is none."""
        return await _read(self._records.get, tenant, job)

    async def peek(self, tenant: str, job: str) -> Kept | None:
        """Return a job as any server has it: one that is missing may be written a moment ago."""
        return await _read(self._records.peek, tenant, job)

    async def newest(self, tenant: str, job: str) -> Kept | None:
        """Return a job as the leader has it, for those whose change came to nothing."""
        return await _read(self._records.newest, tenant, job)

    async def create(self, record: JobRecord) -> Kept:
        """Write a new record; raises ``Conflict`` if there is one."""
        name = _name(record.tenant, record.id)
        return Kept(record, await self._records.create(name, encode(record)))

    async def change(self, kept: Kept, record: JobRecord, age: float = 0.0) -> Kept:
        """Write a record anew; raises ``Conflict`` if it is no longer as it was kept.

        ``age``: seconds since a final one became so, which do not lengthen its life.
        """
        ttl = self._retention - age if record.state.final else None
        name = _name(record.tenant, record.id)
        revision = await self._records.update(name, encode(record), kept.revision, ttl)
        return Kept(record, revision)

    async def drop(self, kept: Kept) -> None:
        """Remove a record, and what its key stood for; raises ``Conflict`` as ``change``."""
        record = kept.record
        await self._records.delete(_name(record.tenant, record.id), kept.revision)
        if record.key:
            await self._keys.delete(_name(record.tenant, record.key))

    async def claim_key(self, tenant: str, key: str, wanted: JobKey) -> JobKey:
        """Return what a key stands for, which is ``wanted`` if it stood for nothing.

        Raises ``Conflict`` if something else was submitted with it.
        """
        name = _name(tenant, key)
        try:
            await self._keys.create(name, encode(wanted))
        except Conflict:
            entry = await self._keys.newest(name)
            if entry is None:
                raise Unsettled from None
            known = _keys.decode(entry.value)
            if known.digest != wanted.digest:
                raise Conflict(
                    "this key was used for another job: repeat that one, or take another key"
                ) from None
            return known
        return wanted

    async def age_key(self, record: JobRecord) -> None:
        """Let the key of a final job live as long as its record."""
        if record.key:
            entry = encode(JobKey(id=record.id, digest=record.digest))
            await self._keys.put(_name(record.tenant, record.key), entry, self._retention)


async def ensure(bus: Switchboard, settings: JobSettings) -> None:
    """Make the buckets of jobs, or give those that exist these settings; takes the admin's key."""
    sizes = {
        Store.JOBS: settings.records,
        Store.JOB_KEYS: settings.keys,
        Store.JOB_INDEX: settings.index,
    }
    for name, size in sizes.items():
        bucket = BucketSettings(name=name, max_bytes=size, replicas=settings.replicas)
        await Bucket(bus, bucket).ensure()


async def _read(
    read: Callable[[str], Awaitable[Entry | None]], tenant: str, job: str
) -> Kept | None:
    try:
        entry = await read(_name(tenant, job))
    except ValueError:
        return None  # no job has such a name
    return Kept(_records.decode(entry.value), entry.revision) if entry else None


def _name(tenant: str, part: str) -> str:
    return f"{tenant}/{part}"
