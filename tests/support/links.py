"""The network between the servers of a cluster, as proxies that can be cut between any two.

Every server is advertised under the address of its proxy, so nobody finds a way around. Who
connects is told by whose process holds the other end of the connection.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psutil


class Link:
    """The way to one server from all others."""

    def __init__(self, target: int, port: int, pids: Callable[[], dict[int, int]]) -> None:
        """``pids``: of the servers now, by number; ``port``: where the target really listens."""
        self.port = 0
        self._target, self._behind, self._pids = target, port, pids
        self._cut: set[int] = set()
        self._open: dict[asyncio.StreamWriter, int] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no longer and drop everything."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    def cut(self, others: set[int]) -> None:
        """Let nothing through from these servers, in either direction."""
        self._cut = others
        for writer, origin in tuple(self._open.items()):
            if origin in others:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin = self._origin(writer.get_extra_info("peername")[1])
        try:
            if origin in self._cut:
                return
            beyond, to = await asyncio.open_connection("127.0.0.1", self._behind)
            self._open |= {writer: origin, to: origin}
            await asyncio.gather(self._pass(reader, to), self._pass(beyond, writer))
        except OSError:
            pass  # one end is not there, or was cut
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while received := await reader.read(65536):
                    writer.write(received)
                    await writer.drain()
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    def _origin(self, port: int) -> int:
        for number, pid in self._pids().items():
            with suppress(psutil.Error):
                held = psutil.Process(pid).net_connections("tcp4")
                if any(each.laddr.port == port for each in held):
                    return number
        return -1
