"""The chat completions that are kept, found again by their tenant alone.

The row comes first and goes last. So nothing that was said lies in the store without a row that
tells of it, whoever dies in between; a row alone is passed over, and expires.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec.structs import replace

from gateway.chats.kept import (
    CHATS,
    ROWS,
    ChatNotFound,
    ChatRow,
    KeptChat,
    Wanted,
    row_of,
    shown,
)
from gateway.chats.store import ChatStore, RowStore
from gateway.paging import Limits, Page, cut
from gateway.responses import archive as responses
from gateway.responses.ids import may_exist
from gateway.responses.kept import check_size
from mesh.errors import BusError, Conflict, PayloadTooLarge, StoreError
from schemas.openai.chat import Turn
from schemas.openai.stored_chats import StoredCompletion
from schemas.wire import encode

log = structlog.get_logger("gateway.chats")

LARGEST_LIMIT: Final = 100
LIMITS: Final = Limits(most=LARGEST_LIMIT, order="asc")
TRIES: Final = 5


@dataclass(frozen=True)
class Found:
    """A chat completion, and the revision that a change of its row must name."""

    kept: KeptChat
    row: ChatRow
    revision: int


class ChatArchive:
    """Reads and writes the chat completions of all tenants; a tenant never sees another's.

    Methods raise ``StoreError`` and ``BusError``.
    """

    def __init__(
        self,
        store: ChatStore,
        *,
        limit: int,
        ttl: float,
        most: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``limit``: bytes of one; ``ttl``: seconds; ``most``: bytes of a page."""
        self._said, self._rows = store.said, store.rows
        self._limit, self._ttl, self._most = limit, ttl, most
        self._now = wall_clock

    def check_size(self, messages: Iterable[Turn]) -> None:
        """Raise ``ResponseTooLarge`` for messages that alone are more than can be stored."""
        check_size(messages, self._limit)

    async def keep(self, tenant: str, kept: KeptChat, metadata: dict[str, str]) -> str | None:
        """Store a new one; return why it could not be stored, ``None`` if it is."""
        said, now = encode(kept), self._now()
        if len(said) > self._limit:
            return "too_large"
        row = row_of(kept, metadata, size=len(said), now=now, ttl=self._ttl)
        try:
            await self._of(tenant).create(row.id, encode(row), self._ttl)
            await self._said.create(place(tenant, row.id), said, self._ttl)
        except (StoreError, BusError, PayloadTooLarge) as error:
            log.warning("chat.unstored", chat=row.id, reason=error.code.value)
            return error.code.value
        return None

    async def find(self, tenant: str, completion_id: str) -> Found:
        """Return one; raises ``ChatNotFound``."""
        if not may_exist(completion_id):
            raise ChatNotFound(completion_id)
        row, said = await asyncio.gather(
            self._of(tenant).get(completion_id), self._said.get(place(tenant, completion_id))
        )
        if row is None or said is None:
            raise ChatNotFound(completion_id)
        return Found(CHATS.read(said), ROWS.read(row), row.revision)

    async def page(
        self, tenant: str, wanted: Wanted, query: Mapping[str, str]
    ) -> Page[StoredCompletion]:
        """Return the page that a query asks for; raises ``BadRequest`` naming the parameter.

        It ends early where it would become too large for one answer.
        """
        rows = ROWS.readable((await self._of(tenant).entries()).values())
        begun = cut(wanted.among(rows), query, LIMITS)
        rest, found, room = list(begun.rest), list[StoredCompletion](), self._most
        while rest and len(found) < begun.limit and room > 0:
            together = _together(rest, begun.limit - len(found), room)
            del rest[: len(together)]
            room -= sum(row.size for row in together)
            found += await self._read(tenant, together)
        return Page(tuple(found), has_more=bool(rest))

    async def change(
        self, tenant: str, completion_id: str, metadata: dict[str, str]
    ) -> StoredCompletion:
        """Give one other metadata; raises ``ChatNotFound``, ``Conflict``. It expires as before."""
        for _ in range(TRIES):
            found = await self.find(tenant, completion_id)
            row = replace(found.row, metadata=metadata)
            try:
                await self._of(tenant).update(
                    row.id, encode(row), found.revision, row.expires_at - self._now()
                )
            except Conflict:
                continue
            return shown(found.kept.completion, metadata)
        raise Conflict("the chat completion changes too fast; retry")

    async def remove(self, tenant: str, completion_id: str) -> None:
        """Remove one; raises ``ChatNotFound``. One that was removed half-way can be removed."""
        rows = self._of(tenant)
        if not may_exist(completion_id) or await rows.get(completion_id) is None:
            raise ChatNotFound(completion_id)
        await self._said.delete(place(tenant, completion_id))
        await rows.purge(completion_id)

    def _of(self, tenant: str) -> RowStore:
        return self._rows.within(tenant)

    async def _read(self, tenant: str, rows: list[ChatRow]) -> list[StoredCompletion]:
        """Return what is there of some rows, in their order."""
        reads = (self._said.get(place(tenant, row.id)) for row in rows)
        entries = [entry for entry in await asyncio.gather(*reads) if entry is not None]
        said = {kept.completion.id: kept.completion for kept in CHATS.readable(entries)}
        return [shown(said[row.id], row.metadata) for row in rows if row.id in said]


def _together(rows: list[ChatRow], most: int, room: int) -> list[ChatRow]:
    """Return the first rows, one at least, as many as may be read and have room."""
    taken: list[ChatRow] = []
    for row in rows[:most]:
        room -= row.size
        if taken and room < 0:
            break
        taken.append(row)
    return taken


def place(tenant: str, completion_id: str) -> str:
    """Return where it is kept what was said: an entry that no response can have."""
    return f"{responses.key(tenant, completion_id)}/chat"
