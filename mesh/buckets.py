"""Buckets: small records under keys, stored at the broker and shared by all who may read them.

The format is that of NATS key-value buckets, so ``nats kv`` shows them. A revision is the number of
the change that an entry was last written by; it grows over the whole bucket.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from mesh import jetstream, subjects
from mesh.errors import (
    BusUnavailable,
    Conflict,
    DeadlineExceeded,
    MeshError,
    NoResponders,
    StoreError,
)
from mesh.exchange import ask, ask_for_many
from mesh.inbox import Delivery, Headers, Switchboard
from mesh.jetstream import DirectGet, LastGet, Reply, StreamConfig, checked, read_reply

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

    def __init__(self, bus: Switchboard, settings: BucketSettings, timeout: float = 5.0) -> None:
        """``timeout``: seconds that the broker gets for an answer."""
        self._bus, self._settings, self._timeout = bus, settings, timeout
        self._stream = subjects.bucket_stream(settings.name)
        self._all = subjects.bucket_entries(settings.name)
        self._prefix = self._all.removesuffix(">")
        self._direct = subjects.stream_api("DIRECT.GET", self._stream)

    async def ensure(self) -> None:
        """Make the bucket, or give the one that exists these settings."""
        settings = self._settings
        config = StreamConfig(
            name=self._stream,
            subjects=(self._all,),
            max_bytes=settings.max_bytes,
            max_age=round(settings.ttl * 1_000_000_000),
            num_replicas=settings.replicas,
        )
        # Asked first: to create one that exists needs room for a second one.
        found = await self._api("STREAM.INFO", b"")
        if found.error is not None and found.error.err_code == jetstream.NOT_FOUND:
            checked(await self._api("STREAM.CREATE", msgspec.json.encode(config)), self._what)
            return
        replicas = checked(found, self._what).config.num_replicas
        kept = msgspec.structs.replace(config, num_replicas=replicas)
        checked(await self._api("STREAM.UPDATE", msgspec.json.encode(kept)), self._what)

    async def revision(self) -> int:
        """Return the number of the last change: one small request, made to be repeated.

        Deletions count, since they leave a mark that is kept as long as an entry.
        """
        reply = await self._ask(self._direct, _LAST)
        headers = reply.headers or {}
        return 0 if _is_missing(headers) else _number(headers, jetstream.SEQUENCE)

    async def get(self, key: str) -> Entry | None:
        """Return an entry, ``None`` if there is none; raises ``ValueError`` for a key too long."""
        reply = await self._read(key)
        headers = reply.headers or {}
        if _is_missing(headers) or _is_marker(headers):
            return None
        return Entry(key, reply.payload, _number(headers, jetstream.SEQUENCE))

    async def entries(self) -> Mapping[str, Entry]:
        """Return all entries by key."""
        return (await self.listing()).entries

    async def listing(self) -> Listing:
        """Return all entries, and how far they are known."""
        entries: dict[str, Entry] = {}
        revision, pending = 0, 1
        while pending:
            *found, end = await self._page(revision + 1)
            for delivery in found:
                revision = self._enter(entries, delivery)
            pending = _number(end.headers or {}, jetstream.NUM_PENDING) if found else 0
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

    @property
    def _what(self) -> str:
        return f"the bucket {self._settings.name}"

    async def _read(self, key: str) -> Delivery:
        subject = subjects.bucket_entry(self._settings.name, key)
        return await self._ask(f"{self._direct}.{subject}", b"")

    async def _write(self, key: str, value: bytes, headers: Headers, ttl: float | None) -> int:
        sent = dict(headers)
        if ttl is not None:
            sent[jetstream.TTL] = f"{max(1, math.ceil(ttl))}s"
        subject = subjects.bucket_entry(self._settings.name, key)
        reply = read_reply((await self._ask(subject, value, sent)).payload)
        return checked(reply, f"the entry {key!r} of {self._what}").seq

    async def _marker(self, key: str) -> int | None:
        """Return the revision of what a deletion left, 0 where nothing is; ``None``: an entry."""
        headers = (await self._read(key)).headers or {}
        if _is_missing(headers):
            return 0
        return _number(headers, jetstream.SEQUENCE) if _is_marker(headers) else None

    async def _api(self, operation: str, payload: bytes) -> Reply:
        subject = subjects.stream_api(operation, self._stream)
        return read_reply((await self._ask(subject, payload)).payload)

    async def _ask(self, subject: str, payload: bytes, headers: Headers | None = None) -> Delivery:
        try:
            return await ask(self._bus, subject, payload, timeout=self._timeout, headers=headers)
        except (NoResponders, DeadlineExceeded) as error:
            raise self._unserved(error) from None

    async def _page(self, start: int) -> list[Delivery]:
        """Return the next entries, and last the broker's word that these are all."""
        query = msgspec.json.encode(DirectGet(seq=start, next_by_subj=self._all, batch=PAGE))
        try:
            return await ask_for_many(
                self._bus, self._direct, query, is_last=_is_end, timeout=self._timeout
            )
        except (NoResponders, DeadlineExceeded) as error:
            raise self._unserved(error) from None

    def _unserved(self, error: NoResponders | DeadlineExceeded) -> MeshError:
        """Tell a bucket that is not there from a broker that does not answer."""
        if isinstance(error, DeadlineExceeded):
            return BusUnavailable(f"{self._what}: {error.message}")
        return StoreError(f"{self._what} does not exist, or JetStream is off at this broker")

    def _enter(self, entries: dict[str, Entry], delivery: Delivery) -> int:
        """Enter what a page told of one key, and return its revision."""
        headers = delivery.headers or {}
        subject = headers.get(jetstream.SUBJECT, "")
        key = subjects.decode_token(subject.removeprefix(self._prefix))
        revision = _number(headers, jetstream.SEQUENCE)
        entries.pop(key, None)
        if not _is_marker(headers):
            entries[key] = Entry(key, delivery.payload, revision)
        return revision


def _is_marker(headers: Headers) -> bool:
    """Tell whether a message says that an entry is gone."""
    return OPERATION in headers or jetstream.MARKER_REASON in headers


def _is_missing(headers: Headers) -> bool:
    return headers.get(jetstream.STATUS) == "404"


def _is_end(delivery: Delivery) -> bool:
    return jetstream.STATUS in (delivery.headers or {})


def _number(headers: Headers, name: str) -> int:
    try:
        return int(headers[name])
    except (KeyError, ValueError):
        raise StoreError(f"the broker's answer has no {name}") from None
