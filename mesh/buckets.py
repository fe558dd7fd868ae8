"""Buckets: small records under keys, stored at the broker and shared by all who may read them.

The format is that of NATS key-value buckets, so ``nats kv`` shows them. A revision is the number of
the change that an entry was last written by; it grows over the whole bucket.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from mesh import jetstream, subjects
from mesh.depot import Depot, number
from mesh.errors import Conflict
from mesh.inbox import Delivery, Headers, Switchboard
from mesh.jetstream import DirectGet, LastGet, StreamConfig
from mesh.leader import Leader

MEBIBYTE = 1024 * 1024
OPERATION = "KV-Operation"
PAGE = 512
"""Entries that are asked for at a time."""
_LAST = msgspec.json.encode(LastGet())


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """What a bucket is made with; writing to a full one fails, nothing is thrown away.

    name: letters, digits, ``_`` and ``-``. ttl: seconds for which entries are kept; 0 for ever.
    replicas: of a new bucket; one that exists keeps its number.
    """

    name: str
    max_bytes: int = 16 * MEBIBYTE
    ttl: float = 0.0
    replicas: int = 1


@dataclass(frozen=True)
class Entry:
    """A value, and the change that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True)
class Listing:
    """All entries of a bucket; ``revision`` is the last change seen, deletions included."""

    entries: Mapping[str, Entry]
    revision: int


class Bucket:
    """One bucket at the broker.

    Every method raises ``StoreError`` if the broker stores nothing or no such bucket, and the
    ``BusError`` of a broker out of reach; a write that fails so may have happened.
    """

    def __init__(
        self, bus: Switchboard, settings: BucketSettings, timeout: float = 5.0, folder: str = ""
    ) -> None:
        """``timeout``: seconds that the broker gets for an answer; ``folder``: see ``within``."""
        self._bus, self._settings, self._timeout = bus, settings, timeout
        self._stream = subjects.bucket_stream(settings.name)
        self._prefix = subjects.bucket_folder(settings.name, folder)
        self._all = f"{self._prefix}>"
        self._depot = Depot(bus, self._stream, self._what, timeout)
        self._leader = Leader(self._depot)

    def within(self, folder: str) -> "Bucket":
        """Return the entries of one folder, as if they were a bucket of their own."""
        return Bucket(self._bus, self._settings, self._timeout, folder)

    async def ensure(self) -> None:
        """Make the bucket, or give the one that exists these settings."""
        settings = self._settings
        await self._depot.ensure(
            StreamConfig(
                name=self._stream,
                subjects=(subjects.bucket_entries(settings.name),),
                max_bytes=settings.max_bytes,
                max_age=round(settings.ttl * 1_000_000_000),
                num_replicas=settings.replicas,
            )
        )

    async def revision(self) -> int:
        """Return the number of the last change: one small request, made to be repeated.

        Deletions count, since they leave a mark that is kept as long as an entry.
        """
        reply = await self._depot.ask(self._depot.direct, _LAST)
        headers = reply.headers or {}
        return 0 if _is_missing(headers) else number(headers, jetstream.SEQUENCE)

    async def newest_revision(self) -> int:
        """Return the number of the last change as the leader has it; 0 if there never was one."""
        found = await self._leader.last(self._all)
        return 0 if found is None else number(found.headers, jetstream.SEQUENCE)

    async def get(self, key: str) -> Entry | None:
        """Return an entry, ``None`` if there is none; raises ``ValueError`` for a key too long.

        It may have changed a moment ago. That there is none is the word of the leader, with a
        majority behind it: ``StoreError`` is raised where there is no such word.
        """
        return await self.peek(key) or await self.newest(key)

    async def peek(self, key: str) -> Entry | None:
        """Return an entry as any server has it: it may have come, or gone, a moment ago."""
        return _entry(key, await self._read(key))

    async def newest(self, key: str) -> Entry | None:
        """Return an entry as the leader has it, ``None`` if there is none; as ``get``."""
        found = await self._leader.last(self._subject(key))
        return None if found is None else _entry(key, found)

    async def entries(self) -> Mapping[str, Entry]:
        """Return all entries by key."""
        return (await self.listing()).entries

    async def listing(self) -> Listing:
        """Return all entries, and how far they are known."""
        entries: dict[str, Entry] = {}
        revision, pending = 0, 1
        while pending:
            query = DirectGet(seq=revision + 1, next_by_subj=self._all, batch=PAGE)
            *found, end = await self._depot.page(query)
            for delivery in found:
                revision = self._enter(entries, delivery)
            pending = number(end.headers or {}, jetstream.NUM_PENDING) if found else 0
        return Listing(entries, revision)

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write an entry, whether it exists or not, and return its revision.

        ``ttl``: seconds until it is gone, at least one. Raises ``StoreFull``.
        """
        return await self._write(key, value, {}, ttl)

    async def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write an entry that does not exist; raises ``Conflict`` if it does."""
        try:
            return await self.update(key, value, 0, ttl)
        except Conflict:
            mark = await self._marker(key)
            if mark is None:
                raise
        return await self.update(key, value, mark, ttl)

    async def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Write an entry whose last change is ``revision``; raises ``Conflict`` if it is not."""
        return await self._write(key, value, {jetstream.EXPECTED_SEQUENCE: str(revision)}, ttl)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove an entry, if its last change is ``revision`` where one is given."""
        headers = {OPERATION: "DEL"}
        if revision is not None:
            headers[jetstream.EXPECTED_SEQUENCE] = str(revision)
        await self._write(key, b"", headers, None)

    async def purge(self, key: str, revision: int | None = None) -> None:
        """Remove an entry as ``delete`` does, without leaving a mark for longer than a second."""
        headers = {OPERATION: "PURGE", jetstream.ROLLUP: "sub"}
        if revision is not None:
            headers[jetstream.EXPECTED_SEQUENCE] = str(revision)
        await self._write(key, b"", headers, 1.0)

    @property
    def _what(self) -> str:
        return f"the bucket {self._settings.name}"

    async def _read(self, key: str) -> Delivery:
        return await self._depot.ask(f"{self._depot.direct}.{self._subject(key)}", b"")

    async def _write(self, key: str, value: bytes, headers: Headers, ttl: float | None) -> int:
        sent = dict(headers)
        if ttl is not None:
            sent[jetstream.TTL] = f"{max(1, math.ceil(ttl))}s"
        what = f"the entry {key!r} of {self._what}"
        return (await self._depot.write(self._subject(key), value, sent, what)).seq

    def _subject(self, key: str) -> str:
        return f"{self._prefix}{subjects.encode_token(key)}"

    async def _marker(self, key: str) -> int | None:
        """Return the revision of what a deletion left, 0 where nothing is; ``None``: an entry."""
        headers = (await self._read(key)).headers or {}
        if _is_missing(headers):
            return 0
        return number(headers, jetstream.SEQUENCE) if _is_marker(headers) else None

    def _enter(self, entries: dict[str, Entry], delivery: Delivery) -> int:
        """Enter what a page told of one key, and return its revision."""
        headers = delivery.headers or {}
        subject = headers.get(jetstream.SUBJECT, "")
        key = subjects.decode_token(subject.removeprefix(self._prefix))
        revision = number(headers, jetstream.SEQUENCE)
        entries.pop(key, None)
        if not _is_marker(headers):
            entries[key] = Entry(key, delivery.payload, revision)
        return revision


def _entry(key: str, told: Delivery) -> Entry | None:
    headers = told.headers or {}
    if _is_missing(headers) or _is_marker(headers):
        return None
    return Entry(key, told.payload, number(headers, jetstream.SEQUENCE))


def _is_marker(headers: Headers) -> bool:
    """Tell whether a message says that an entry is gone."""
    return OPERATION in headers or jetstream.MARKER_REASON in headers


def _is_missing(headers: Headers) -> bool:
    return headers.get(jetstream.STATUS) == "404"
