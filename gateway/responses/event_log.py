"""The events of a response in the background, kept so that any gateway can go on with its stream.

The gateway that makes the response writes them into the store in pieces, twice a second while there
are any: entries beside the response, with the bytes that clients are sent. Events are numbered from
0 without a gap, so the first piece and the lengths tell the number of each. What is not written yet
is in the memory of that gateway, where its own clients read it at once.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import anyio
import structlog

from gateway.responses.store import ResponseStore
from gateway.responses.wire import to_bytes
from mesh.errors import BusError, Conflict, PayloadTooLarge, StoreError
from schemas.openai.response_events import Event

log = structlog.get_logger("gateway.responses")

WRITE_EVERY: Final = 0.5
"""Seconds; how much later a client of another gateway reads an event at most, and as much again
until that gateway looks."""
LASTS: Final = 3600.0
"""Seconds that a piece is kept: long enough for a client to come back."""
LARGEST: Final = 256 * 1024
"""Bytes in a piece, unless one event has more."""
UNWRITTEN: Final = (StoreError, BusError, PayloadTooLarge)


def piece_key(response_key: str, piece: int) -> str:
    """Return where a piece of the events of a response is."""
    return f"{response_key}/events/{piece}"


def split(piece: bytes) -> list[bytes]:
    """Return the events of a piece: JSON holds no line break, so an empty line is an end."""
    return [event + b"\n\n" for event in piece.split(b"\n\n") if event]


class EventLog:
    """Written by the gateway that makes the response."""

    def __init__(self, store: ResponseStore, response_key: str, ttl: float) -> None:
        """``ttl``: seconds that the response itself is kept; its events never outlast it."""
        self.stored = 0
        """Events that are in the store; those after them are here."""
        self.is_closed = False
        self._store, self._key, self._ttl = store, response_key, min(ttl, LASTS)
        self._events: list[bytes] = []
        self._writing: list[bytes] = []
        self._pieces = 0
        self._news = anyio.Event()

    def add(self, events: Iterable[Event]) -> None:
        """Take in events, and wake up who waits for them."""
        self._events += map(to_bytes, events)
        self._tell()

    def close(self) -> None:
        """Say that nothing more will come."""
        self.is_closed = True
        self._tell()

    def since(self, seen: int) -> list[bytes]:
        """Return the events from a number on, which is ``stored`` at least."""
        return self._events[seen - self.stored :]

    async def news(self) -> None:
        """Wait until something is added."""
        await self._news.wait()

    async def run(self) -> None:
        """Write until cancelled; while the store is out of reach, events stay here."""
        while True:
            await anyio.sleep(WRITE_EVERY)
            await self.write()

    async def write(self) -> None:
        """Write what is not in the store yet, as far as that is possible."""
        try:
            while self._events:
                await self._write_piece()
        except UNWRITTEN as error:
            log.warning("events.unwritten", key=self._key, reason=error.code.value)

    async def erase(self) -> None:
        """Remove what was written: somebody else may have begun to, so there may be gaps."""
        for piece in range(self._pieces):
            await self._store.delete(piece_key(self._key, piece))

    async def _write_piece(self) -> None:
        """Write the next piece: a write that seemed to fail is repeated with the same bytes."""
        self._writing = self._writing or list(_fitting(self._events))
        key = piece_key(self._key, self._pieces)
        try:
            await self._store.create(key, b"".join(self._writing), self._ttl)
        except Conflict:
            log.info("events.written_before", key=key)  # nobody else writes here
        del self._events[: len(self._writing)]
        self.stored += len(self._writing)
        self._writing = []
        self._pieces += 1

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


async def erase(store: ResponseStore, response_key: str) -> None:
    """Remove the events of a response; raises ``StoreError`` or ``BusError``."""
    piece = 0
    while await store.get(key := piece_key(response_key, piece)) is not None:
        await store.delete(key)
        piece += 1


def _fitting(events: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for event in events:
        size += len(event)
        if size > LARGEST and size > len(event):
            return
        yield event
