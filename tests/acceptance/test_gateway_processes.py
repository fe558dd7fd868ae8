"""Several gateway processes on one address: one dies, the others go on; their sums are told."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import psutil
import pytest

from cli.doorway import CannotShare, Sharing, doorway
from cli.gateways import Family, serve
from cli.life import Stop
from cli.options import (
    BusOptions,
    GatewayOptions,
    LifeOptions,
    LogOptions,
    PriceOptions,
    StateOptions,
)
from cli.readiness import Announcer
from mesh.accounts import Role
from mesh.settings import Address
from tests.support.command import Up, finished, running_up
from tests.support.mesh import broker_in, scripted_worker
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

FREE = Address("127.0.0.1", 0)
TOKENS = 40
CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
STREAMS = 16
SCRIPT = (f"--scripted-tokens={TOKENS}", "--slots=32")


def children(mesh: Up) -> list[psutil.Process]:
    """Return the gateway processes that serve."""
    return psutil.Process(mesh.pid("gateway")).children()


def ports(process: psutil.Process) -> set[int]:
    """Return the client ports of the connections that a process holds."""
    return {each.raddr.port for each in process.net_connections("tcp") if each.raddr}


class Stream:
    """A numbered stream on a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession, answer: aiohttp.ClientResponse) -> None:
        self.session, self._answer = session, answer
        assert answer.connection is not None
        assert answer.connection.transport is not None
        self.port: int = answer.connection.transport.get_extra_info("sockname")[1]

    async def text(self) -> str:
        """Return the whole text; raises ``aiohttp.ClientError`` if the stream was cut."""
        raw = (await self._answer.read()).decode()
        assert raw.endswith("data: [DONE]\n\n")
        chunks = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


LIMIT = 40


async def counted(base_url: str, key: str) -> int | None:
    """Ask on a connection of its own; return the status if a process that knows the key answers."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        session.post(f"{base_url}/chat/completions", json=CHAT | {"max_tokens": 1}) as answer,
    ):
        return answer.status if "x-ratelimit-limit-requests" in answer.headers else None


async def test_a_keys_limit_holds_over_the_processes(tmp_path: Path) -> None:
    """Two processes together let in what one would, not twice as much."""
    async with running_up(tmp_path, "--gateway-processes=2", *SCRIPT) as mesh:
        limit = f"--requests-per-minute={LIMIT}"
        made = await finished(tmp_path, "keys", "create", limit, f"--state={mesh.state}")
        url, key = mesh.run.base_url, made.out.strip()
        statuses = list[int | None]()

        async def has_had_enough() -> bool:
            statuses.append(await counted(url, key))
            return len(statuses) - statuses.count(None) >= 3 * LIMIT

        await until_async(has_had_enough, within=60)
    assert LIMIT <= statuses.count(200) < 1.5 * LIMIT
    assert statuses.count(429) > LIMIT


@asynccontextmanager
async def streams(base_url: str, count: int) -> AsyncIterator[list[Stream]]:
    """Open streams, each on a connection of its own; all have begun."""

    async def begin() -> Stream:
        session = aiohttp.ClientSession()
        body = CHAT | {"stream": True, "max_tokens": TOKENS}
        return Stream(session, await session.post(f"{base_url}/chat/completions", json=body))

    opened = await asyncio.gather(*(begin() for _ in range(count)))
    try:
        yield opened
    finally:
        for stream in opened:
            await stream.session.close()


async def figures(base_url: str) -> dict[str, float]:
    """Return the metrics as one process tells them."""
    url = f"{base_url.removesuffix('/v1')}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    lines = re.findall(r"^([^#]\S*) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


NUMBERS = "".join(f"{number} " for number in range(TOKENS))
OK = 'mesh_requests_total{model="scripted",outcome="ok",tier="edge"}'


async def test_a_killed_process_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    """The survivor's streams lose no number, new requests are answered, the dead comes back."""
    flags = ("--gateway-processes=2", "--scripted-tps=40", *SCRIPT)
    async with running_up(tmp_path, *flags) as mesh:
        victim, survivor = children(mesh)
        url = mesh.run.base_url
        async with streams(url, STREAMS) as running:
            held = ports(survivor)
            victim.kill()
            async with asyncio.timeout(5):
                lost = [stream for stream in running if stream.port not in held]
                kept = [stream for stream in running if stream.port in held]
                assert lost
                assert kept
                for stream in lost:
                    with pytest.raises(aiohttp.ClientError):
                        await stream.text()
                assert [status for status, _ in [await mesh.ask(CHAT) for _ in range(4)]] == [
                    200
                ] * 4
                assert [await stream.text() for stream in kept] == [NUMBERS] * len(kept)
        await until(lambda: len(children(mesh)) == 2 and victim not in children(mesh))
        assert survivor in children(mesh)
        assert (await figures(url))[OK] == len(kept) + 4


async def test_the_sums_are_the_same_whoever_is_asked(tmp_path: Path) -> None:
    """Each connection may reach another process; the counters are those of all."""
    async with running_up(tmp_path, "--gateway-processes=2", "--scripted-tps=200", *SCRIPT) as mesh:
        url = mesh.run.base_url
        async with streams(url, STREAMS) as running:
            held = [ports(child) for child in children(mesh)]
            assert all(any(stream.port in each for stream in running) for each in held)
            for stream in running:
                await stream.text()
        told = [await figures(url) for _ in range(8)]
    assert [each[OK] for each in told] == [STREAMS] * 8
    assert [each["mesh_requests_in_flight"] for each in told] == [0] * 8
    assert [each['mesh_workers{tier="edge"}'] for each in told] == [1] * 8


async def test_all_processes_drain(tmp_path: Path) -> None:
    """What runs on any of them is finished after SIGTERM, then nothing is left."""
    async with running_up(tmp_path, "--gateway-processes=2", "--scripted-tps=60", *SCRIPT) as mesh:
        family = mesh.family()
        async with streams(mesh.run.base_url, 4) as running:
            mesh.command.process.send_signal(signal.SIGTERM)
            assert [await stream.text() for stream in running] == [NUMBERS] * 4
        assert await mesh.command.ended() == 0
        await until(lambda: not any(process.is_running() for process in family))
        assert "Traceback" not in mesh.command.err


async def test_processes_can_share_one_inherited_socket(tmp_path: Path) -> None:
    """Where the kernel does not spread connections, all accept from the same queue."""
    script = ScriptedSettings(tokens=TOKENS, tps=200, slots=STREAMS)
    async with broker_in(tmp_path) as broker, scripted_worker(broker, settings=script):
        family = Family(
            gateway=GatewayOptions(http=FREE, gateway_processes=2),
            prices=PriceOptions(),
            bus=BusOptions(nats=broker.url, creds=broker.creds(Role.GATEWAY)),
            state=StateOptions(state=tmp_path),
            life=LifeOptions(drain_timeout=1),
            log=LogOptions(),
        )
        announcer = Heard()
        stop = Stop(announcer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, family, Sharing.INHERITED, announcer, stop)
            await until(lambda: announcer.serving, within=30)
            async with streams(announcer.url, STREAMS) as running:
                assert [await stream.text() for stream in running] == [NUMBERS] * STREAMS
            stop.asked.set()


class Heard(Announcer):
    """Remembers where the processes serve."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.url = ""

    def ready(self, text: str, address: str = "") -> None:
        self.url = text
        super().ready(text, address)


def test_a_taken_address_is_told() -> None:
    """A doorway does not share with strangers."""
    with (
        doorway(FREE, Sharing.INHERITED) as taken,
        pytest.raises(CannotShare, match="--http"),
        doorway(taken.address, Sharing.SPREAD),
    ):
        raise AssertionError
