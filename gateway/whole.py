"""A JSON answer that goes out whole: status, headers and body in one write of ready bytes.

What aiohttp does beyond that is for streams, compression and methods that these answers never have,
and costs more than half of what sending them takes.
"""

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from gateway.quotas import METER


class WholeAnswer(web.Response):
    """An answer to a ``POST``; its headers are ours, and hold nothing that would need a check."""

    _is_out = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it; as aiohttp does where the connection is to be closed after it."""
        if request.version != HttpVersion11 or not request.keep_alive:
            return await super().prepare(request)
        transport, meter = request.transport, request.get(METER)
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if meter is not None:
            self.headers.update(meter.headers())
        transport.write(self._encoded())
        self._is_out = True
        await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Add nothing to what is out."""
        if not self._is_out:
            await super().write_eof(data)

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays."""
        return True if self._is_out else super().keep_alive

    def _encoded(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else b""
        headers = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\n{headers}Content-Length: {len(body)}\r\n"
            f"Date: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        )
        return head.encode() + body
