"""Where chat completions are kept: what was said with the responses, and rows to list it by.

What was said can be read by those alone who know its key, as with responses. Rows tell no more
than a model and the client's own metadata, and a tenant's can be listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from gateway.responses.store import LONGEST_TTL, RESPONSES, MemoryStore, ResponseStore
from mesh import subjects
from mesh.buckets import MEBIBYTE, Bucket, BucketSettings, Entry
from mesh.errors import PermissionDenied, StoreError
from mesh.inbox import Switchboard
from mesh.storage import Store

log = structlog.get_logger("gateway.chats")

ROW_BUCKET: Final = BucketSettings(name=Store.CHATS, max_bytes=64 * MEBIBYTE, ttl=LONGEST_TTL)
"""The bucket of the rows, to be made by whoever runs the broker: gateways may not make any."""


class RowStore(ResponseStore, Protocol):
    """A store whose entries lie in folders, and can be listed folder by folder."""

    def within(self, folder: str) -> "RowStore":
        """Return the entries of a folder, as if they were all."""
        ...

    async def entries(self) -> Mapping[str, Entry]:
        """Return all entries by key."""
        ...

    async def purge(self, key: str, revision: int | None = None) -> None:
        """Remove an entry, if it is there, so that no list passes over what is left of it."""
        ...


class MemoryRows:
    """Keeps rows inside the process, as a gateway does whose broker keeps none."""

    def __init__(self, store: MemoryStore, folder: str = "") -> None:
        self._store, self._folder = store, folder

    def within(self, folder: str) -> "MemoryRows":
        """Return the entries of a folder."""
        return MemoryRows(self._store, self.key(folder, ""))

    @staticmethod
    def key(folder: str, name: str) -> str:
        """Return where the memory keeps an entry: a folder's name may have slashes."""
        return f"{subjects.encode_token(folder)}/{name}"

    async def get(self, key: str) -> Entry | None:
        """Return an entry."""
        return await self._store.get(self._folder + key)

    async def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Write an entry that does not exist."""
        return await self._store.create(self._folder + key, value, ttl)

    async def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Write an entry that nobody else has changed."""
        return await self._store.update(self._folder + key, value, revision, ttl)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove an entry."""
        await self._store.delete(self._folder + key, revision)

    async def purge(self, key: str, revision: int | None = None) -> None:
        """Remove an entry; nothing is left of one in memory."""
        await self.delete(key, revision)

    async def entries(self) -> Mapping[str, Entry]:
        """Return the folder's entries by their keys in it."""
        return {
            key.removeprefix(self._folder): entry
            for key, entry in (await self._store.entries()).items()
            if key.startswith(self._folder)
        }


@dataclass(frozen=True, kw_only=True)
class ChatStore:
    """Both halves: a chat completion is there as long as both of them are."""

    said: ResponseStore
    rows: RowStore


def in_memory() -> ChatStore:
    """Return a store that is forgotten with the process, and shared with nobody."""
    return ChatStore(said=MemoryStore(), rows=MemoryRows(MemoryStore()))


async def chats_at(bus: Switchboard) -> ChatStore:
    """Return the mesh's store, or a gateway's own memory where its broker has no such buckets."""
    said, rows = Bucket(bus, RESPONSES), Bucket(bus, ROW_BUCKET)
    try:
        for bucket in (said, rows):
            await bucket.get("is it there?")
    except (StoreError, PermissionDenied) as error:  # an older broker knows nothing of rows
        log.warning("chats.in_memory", reason=error.message)
        return in_memory()
    return ChatStore(said=said, rows=rows)
