"""Objects: contents too large for one message, stored in pieces at the broker.

The format is that of NATS object stores, so ``nats object`` shows them. Pieces go in and come out
one after the other: an object of any size passes through a few hundred kilobytes of memory.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from mesh import jetstream, subjects
from mesh.buckets import BucketSettings
from mesh.depot import Depot, number
from mesh.errors import StoreError
from mesh.inbox import Headers, Switchboard
from mesh.jetstream import DirectGet, StreamConfig, checked, read_reply

CHUNK = 128 * 1024
"""Bytes of one piece."""
PAGE = 8
"""Pieces that are asked for at a time."""
_GOES: Headers = {jetstream.ROLLUP: "sub", jetstream.TTL: "1s"}
"""The head of a message that takes the place of all others on its subject, and then goes, too."""


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    max_chunk_size: int = CHUNK


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an object store says of one object; ``nuid`` is the token of its pieces."""

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    digest: str
    mtime: str
    options: _Options = _Options()


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    max_bytes: int = -1


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds: bytes and messages, and the bytes that it may hold (-1: no limit)."""

    bytes: int = 0
    messages: int = 0
    most: int = -1


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    state: Room = Room()
    config: _Config = _Config()


_infos = msgspec.json.Decoder(_Info)


@dataclass(frozen=True)
class Place:
    """Where an object lies. token: of its pieces, never used twice; name: for other programs."""

    token: str
    name: str


class ObjectStore:
    """One object store; every method raises ``StoreError`` or ``BusError``."""

    def __init__(self, bus: Switchboard, settings: BucketSettings, timeout: float = 5.0) -> None:
        self._settings = settings
        self._depot = Depot(
            bus, subjects.object_stream(settings.name), f"the store {settings.name}", timeout
        )

    async def ensure(self) -> None:
        """Make the store, or give the one that exists these settings; takes the admin's key."""
        await self._depot.ensure(
            StreamConfig(
                name=self._depot.stream,
                subjects=(subjects.all_objects(self._settings.name),),
                max_bytes=self._settings.max_bytes,
                max_age=round(self._settings.ttl * 1_000_000_000),
                max_msgs_per_subject=-1,
                num_replicas=self._settings.replicas,
                deny_delete=False,
            )
        )

    async def room(self) -> Room:
        """Return how full the store is."""
        subject = subjects.stored_info(self._depot.stream)
        payload = (await self._depot.ask(subject, b"")).payload
        checked(read_reply(payload), self._depot.what)
        info = _infos.decode(payload)
        return msgspec.structs.replace(info.state, most=info.config.max_bytes)

    def writer(self, place: Place) -> "ObjectWriter":
        """Return what writes a new object; one that is not finished is to be removed."""
        return ObjectWriter(self._depot, self._settings.name, place)

    async def read(self, place: Place, size: int) -> AsyncIterator[bytes]:
        """Yield the pieces of an object of ``size`` bytes; raises ``StoreError`` if some miss."""
        wanted = subjects.object_chunks(self._settings.name, place.token)
        last, pending, left = 0, 1, size
        while pending and left:
            query = DirectGet(seq=last + 1, next_by_subj=wanted, batch=PAGE)
            *pieces, end = await self._depot.page(query)
            for piece in pieces:
                last = number(piece.headers, jetstream.SEQUENCE)
                left -= len(piece.payload)
                yield piece.payload
            pending = number(end.headers, jetstream.NUM_PENDING) if pieces else 0
        if left:
            raise StoreError(f"the object {place.name} is not whole: {left} bytes are missing")

    async def remove(self, place: Place) -> None:
        """Remove an object, or what there is of it."""
        for subject in (
            subjects.object_meta(self._settings.name, place.name),
            subjects.object_chunks(self._settings.name, place.token),
        ):
            await self._depot.write(subject, b"", _GOES, f"the removal of {place.name}")


class ObjectWriter:
    """Writes one object piece by piece; raises ``StoreFull`` besides."""

    def __init__(self, depot: Depot, store: str, place: Place) -> None:
        self._depot, self._store, self._place = depot, store, place
        self._chunks = subjects.object_chunks(store, place.token)
        self._rest = bytearray()
        self._digest = hashlib.sha256()
        self._stored = 0
        self._pieces = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._stored + len(self._rest)

    async def write(self, data: bytes) -> None:
        """Add to the object."""
        self._rest += data
        while len(self._rest) >= CHUNK:
            piece = bytes(self._rest[:CHUNK])
            del self._rest[:CHUNK]
            await self._store_piece(piece)

    async def finish(self) -> ObjectInfo:
        """Store what is left, and say that the object is whole."""
        if self._rest:
            piece = bytes(self._rest)
            self._rest.clear()
            await self._store_piece(piece)
        info = ObjectInfo(
            name=self._place.name,
            bucket=self._store,
            nuid=self._place.token,
            size=self._stored,
            chunks=self._pieces,
            digest=f"SHA-256={urlsafe_b64encode(self._digest.digest()).decode()}",
            mtime=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        )
        subject = subjects.object_meta(self._store, self._place.name)
        headers = {jetstream.ROLLUP: "sub"}
        await self._depot.write(subject, msgspec.json.encode(info), headers, self._what)
        return info

    async def _store_piece(self, piece: bytes) -> None:
        await self._depot.write(self._chunks, piece, {}, self._what)
        self._digest.update(piece)
        self._stored += len(piece)
        self._pieces += 1

    @property
    def _what(self) -> str:
        return f"the object {self._place.name}"
