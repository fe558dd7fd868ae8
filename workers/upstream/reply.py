"""The body of an upstream's answer, read piece by piece within limits of time and size."""

from contextlib import suppress

import aiohttp
import anyio

from mesh.errors import UpstreamMalformed
from workers.upstream.call import Call

TRAILER_SECONDS = 0.05
"""Wait for the HTTP body to end after the last event: only then can the connection be reused."""


class Reply:
    """One answer's body, of which ``max_bytes`` are taken at most.

    Not yet read, no more than aiohttp's buffer of about 128 KiB lies here: TCP holds up the rest.
    """

    def __init__(self, response: aiohttp.ClientResponse, call: Call, max_bytes: int) -> None:
        self._response = response
        self._call = call
        self._max_bytes = max_bytes
        self._size = 0

    @property
    def is_json(self) -> bool:
        """Whether the upstream ignored the wish for a stream and sent the answer whole."""
        return self._response.content_type == "application/json"

    async def read(self) -> bytes:
        """Return what has come, once something has; nothing at the end of the body."""
        with self._call.waiting():
            received = await self._response.content.readany()
        self._call.heard = self._call.heard or bool(received)
        self._size += len(received)
        if self._size > self._max_bytes:
            raise UpstreamMalformed(f"the upstream sent more than {self._max_bytes} bytes")
        return received

    async def whole(self) -> bytes:
        """Return the rest of the body."""
        parts = []
        while received := await self.read():
            parts.append(received)
        return b"".join(parts)

    async def head(self, size: int) -> bytes:
        """Return the body's beginning, of ``size`` bytes if it has as many."""
        head = b""
        while len(head) < size and (received := await self.read()):
            head += received
        return head[:size]

    async def finish(self) -> None:
        """Let the body come to its end if it does so at once; what goes wrong here is no matter."""
        with anyio.move_on_after(TRAILER_SECONDS), suppress(aiohttp.ClientError):
            await self._response.content.readany()
