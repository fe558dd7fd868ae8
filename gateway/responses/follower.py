"""Follows the events of one response, wherever it is made."""

import itertools
from collections.abc import AsyncIterator
from typing import Final

import anyio

from gateway.responses.archive import Archive, key
from gateway.responses.closing import closing
from gateway.responses.current import Current, is_running
from gateway.responses.event_log import EventLog, piece_key, split
from gateway.responses.wire import is_last, to_bytes
from schemas.openai.response_object import Response

LOOK_EVERY: Final = 0.5
"""Seconds between looks into the store for events that another gateway writes."""


class Follower:
    """Reads events from the store, and the newest from the log of the gateway it runs on."""

    def __init__(
        self, archive: Archive, tenant: str, response_id: str, log: EventLog | None
    ) -> None:
        """``log``: of a response that is made on this gateway."""
        self._store, self._current = archive.store, Current(archive)
        self._tenant, self._id, self._log = tenant, response_id, log
        self.seen = 0
        """Events that have been read, which is the number of the next one."""
        self._piece = self._piece_begins = 0
        """The next piece to read, and the number of its first event."""

    async def has_begun(self) -> bool:
        """Tell whether there is anything to follow: events are not kept as long as responses."""
        if self._log is not None or await self._ended() is None:
            return True
        return await self._store.get(self._key(0)) is not None

    async def follow(self, after: int) -> AsyncIterator[bytes]:
        """Yield the events after a number as they come, and empty bytes while none do."""
        while True:
            events = await self._read() or await self._wait()
            if not events:
                yield b""
            for event in events:
                self.seen += 1
                if self.seen - 1 > after:
                    yield event
                if is_last(event):
                    return

    async def _read(self) -> list[bytes]:
        """Return events that have not been seen and are there, if there are any."""
        if self._log is not None and self.seen >= self._log.stored:
            return self._log.since(self.seen)
        entry = await self._store.get(self._key(self._piece))
        if entry is None:
            return []
        events = split(entry.value)
        known = self.seen - self._piece_begins
        self._piece += 1
        self._piece_begins += len(events)
        return events[known:]

    async def _wait(self) -> list[bytes]:
        """Wait a little; return what ends the stream if nobody is there any more to write it."""
        if self._log is not None and not self._log.is_closed:
            with anyio.move_on_after(LOOK_EVERY):
                await self._log.news()
            return []
        ended = await self._ended()
        if ended is None:
            await anyio.sleep(LOOK_EVERY)
            return []
        number = itertools.count(self.seen).__next__
        return await self._read() or [to_bytes(event) for event in closing(ended, number)]

    async def _ended(self) -> Response | None:
        """Return the response if it has ended; raises ``ResponseNotFound`` if it was deleted."""
        found = await self._current.find(self._tenant, self._id)
        return None if is_running(found) else found.kept.response

    def _key(self, piece: int) -> str:
        return piece_key(key(self._tenant, self._id), piece)
