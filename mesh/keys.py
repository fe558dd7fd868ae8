"""API keys: made, stored, listed and revoked in a bucket that every gateway follows.

Only SHA-256 digests are kept, so that neither the broker's files nor a memory dump holds a key. A
key is 32 random bytes: a plain digest is enough, there is nothing to guess.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import structlog

from mesh.buckets import Bucket, BucketSettings, Entry
from mesh.errors import InvalidRequest
from mesh.inbox import Switchboard
from mesh.storage import Store
from schemas.keys import KeyRecord
from schemas.wire import UNREADABLE, decoder, encode

log = structlog.get_logger("mesh.keys")

PREFIX = "mesh-"
KEY_BYTES = 32
ID_BYTES = 6
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_DIGITS = 43
"""Digits of 32 bytes in base 62."""

KEYS = BucketSettings(name=Store.KEYS, max_bytes=16 * 1024 * 1024)
SPENDING = BucketSettings(name=Store.SPENDING, max_bytes=64 * 1024 * 1024, ttl=3 * 24 * 3600.0)
"""Entries are one per key and day; they outlive their day in every time zone."""

_records = decoder(KeyRecord)


def new_key() -> str:
    """Return a key that nobody has."""
    number = int.from_bytes(secrets.token_bytes(KEY_BYTES))
    digits = []
    for _ in range(_KEY_DIGITS):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return PREFIX + "".join(digits)


def new_id() -> str:
    """Return a name for a key that tells nothing about it."""
    return f"key_{secrets.token_hex(ID_BYTES)}"


def digest(key: str) -> str:
    """Return the digest under which a key is kept."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True)
class KeyList:
    """The keys at one moment; ``revision`` 0 means that there never was one."""

    records: Mapping[str, KeyRecord]
    revision: int


class KeyStore:
    """The keys at the broker (raises as ``Bucket``)."""

    def __init__(self, bus: Switchboard, timeout: float = 5.0) -> None:
        self._bucket = Bucket(bus, KEYS, timeout)
        self._spending = Bucket(bus, SPENDING, timeout)

    async def ensure(self) -> None:
        """Make room for keys, and for what gateways note about their spending."""
        await self._bucket.ensure()
        await self._spending.ensure()

    async def add(self, record: KeyRecord) -> None:
        """Store a key from now on; raises ``Conflict`` if its id is taken."""
        await self._bucket.create(record.id, encode(record))

    async def revoke(self, key_id: str) -> None:
        """Forget a key; raises ``InvalidRequest`` if there is none of that id."""
        entry = await self._bucket.get(key_id)
        if entry is None:
            raise InvalidRequest(f"there is no key {key_id}; `mesh keys` lists them")
        await self._bucket.delete(key_id, entry.revision)

    async def revision(self) -> int:
        """Return what changes with every change of a key."""
        return await self._bucket.revision()

    async def newest_revision(self) -> int:
        """Return the same as the leader has it, where a server may lag behind."""
        return await self._bucket.newest_revision()

    async def read(self) -> KeyList:
        """Return all keys by id."""
        listing = await self._bucket.listing()
        return KeyList(dict(_readable(listing.entries.values())), listing.revision)


def _readable(entries: Iterable[Entry]) -> Iterator[tuple[str, KeyRecord]]:
    """Yield the keys that can be read; what cannot be admits nobody."""
    for entry in entries:
        try:
            yield entry.key, _records.decode(entry.value)
        except UNREADABLE:
            log.error("keys.unreadable", id=entry.key)
