"""A broker that comes and goes: connections that break while they are being made."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh import subjects
from mesh.accounts import Role
from mesh.bus import Bus, BusSettings, connect
from mesh.errors import NoResponders
from tests.support.mesh import broker_in
from tests.support.wait import until, until_async

WORK = "mesh.v1.edge.capacity.w1"


class Flaky:
    """Stands between clients and a broker; cuts new connections after so many lines."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self.cut_after: int | None = None

    def cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, to_broker}
        await asyncio.gather(
            self._pump(reader, to_broker, None), self._pump(from_broker, writer, self.cut_after)
        )

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lines: int | None
    ) -> None:
        try:
            while line := await source.readline():
                sink.write(line)
                await sink.drain()
                if lines is not None and (lines := lines - 1) == 0:
                    break
        except OSError:
            pass  # The other half has been cut.
        finally:
            sink.close()


@asynccontextmanager
async def flaky(port: int) -> AsyncIterator[tuple[Flaky, str]]:
    proxy = Flaky(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        proxy.cut_all()


@pytest.mark.parametrize("lines", [1, 2, 3])
async def test_a_connection_lost_while_it_is_restored_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """However far a reconnect came when it broke, the next one restores all subscriptions."""
    monkeypatch.setattr("mesh.dialling.DIAL_WITHIN", 0.3)
    heard: list[bytes] = []
    async with broker_in(tmp_path) as broker, flaky(broker.port) as (proxy, url):
        creds = broker.creds(Role.GATEWAY)
        own = BusSettings(url=broker.url, creds=broker.creds(Role.EDGE_WORKER), role="edge-worker")
        async with (
            connect(own) as worker,
            connect(BusSettings(url=url, creds=creds, role="gateway")) as bus,
        ):
            await bus.subscribe(WORK, lambda delivery: heard.append(delivery.payload))
            proxy.cut_after, before = lines, proxy.connections
            proxy.cut_all()
            await until(lambda: proxy.connections >= before + 2)
            proxy.cut_after = None

            async def is_heard() -> bool:
                worker.post(WORK, b"hello")
                return bool(heard)

            await until_async(is_heard)
            assert bus.connected


async def test_whoever_stops_dialling_hangs_up() -> None:
    """A connection that the broker has not confirmed yet does not outlive the wish for it."""
    greeted, over = asyncio.Event(), asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1024}\r\n')
        await reader.readuntil(b"PING")
        greeted.set()
        await reader.read()
        over.set()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        bus = Bus(BusSettings(url=f"nats://127.0.0.1:{port}", role=Role.CLIENT))
        dialling = asyncio.create_task(bus.open())
        await greeted.wait()
        dialling.cancel()
        async with asyncio.timeout(5):
            await over.wait()
        assert dialling.cancelled()


async def test_a_broker_that_stood_still_is_found_again(tmp_path: Path) -> None:
    """Unanswered pings end a connection; another one is made as soon as the broker goes on."""
    async with broker_in(tmp_path) as broker:
        way = BusSettings(
            url=broker.url, creds=broker.creds(Role.CLIENT), role=Role.CLIENT, ping_interval=0.05
        )
        async with connect(way) as bus:
            os.kill(broker.pid, signal.SIGSTOP)
            await until(lambda: not bus.connected)
            os.kill(broker.pid, signal.SIGCONT)
            await until(lambda: bus.connected)
            with pytest.raises(NoResponders):
                await bus.request(subjects.INFER, b"", timeout=5)


async def test_a_connection_whose_end_nobody_tells_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of nats-py that was frozen may close without a word; the bus looks for itself."""

    async def say_nothing(_bus: Bus) -> None:
        pass

    monkeypatch.setattr(Bus, "_on_closed", say_nothing)
    async with broker_in(tmp_path) as broker:
        way = BusSettings(url=broker.url, creds=broker.creds(Role.CLIENT), role=Role.CLIENT)
        async with connect(way) as bus:
            os.kill(broker.pid, signal.SIGKILL)
            await until(lambda: not bus.connected)
            await until(lambda: bus.connected)
            with pytest.raises(NoResponders):
                await bus.request(subjects.INFER, b"", timeout=5)
