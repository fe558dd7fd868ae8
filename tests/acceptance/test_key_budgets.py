"""A key's cloud budget per day, on real gateways before a cloud worker that counts its calls."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from gateway.pricing import NANO
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.keys import SPENDING, KeyStore
from schemas.fleet import Tariff, Tier
from schemas.keys import Spent
from schemas.wire import decoder
from tests.support.faulty_upstream import Fault, FaultyUpstream, faulty_upstream
from tests.support.keys import MESSAGES, Door, door_of, key_store, known, outcome, raw
from tests.support.mesh import agent_of, broker_in, bus_of, scripted_worker
from tests.support.upstream import engine_on
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

TARIFF = Tariff(usd_per_million_in=1.0, usd_per_million_out=10.0, max_output=100)
CALL = 11 * 1.0e-6 + 5 * 10.0e-6
"""What the upstream's answer costs, by the tokens it tells."""


@dataclass(frozen=True)
class Cloud:
    """Two gateways in front of a cloud worker that counts its calls."""

    broker: Broker
    store: KeyStore
    doors: list[Door]
    upstream: FaultyUpstream

    async def spent(self, key_id: str) -> int:
        """Return what stands in the key's account, in billionths of a dollar."""
        async with bus_of(self.broker, Role.ADMIN) as bus:
            entries = await Bucket(bus, SPENDING).entries()
        accounts = [entry for name, entry in entries.items() if name.startswith(key_id)]
        return sum(decoder(Spent).decode(entry.value).nano_usd for entry in accounts)

    async def settles_at(self, key_id: str, usd: float) -> None:
        """Wait until the account shows what was really spent."""

        async def is_settled() -> bool:
            return await self.spent(key_id) == round(usd * NANO)

        await until_async(is_settled)


@asynccontextmanager
async def cloud(
    folder: Path, *, tariff: Tariff | None = TARIFF, edge: bool = False
) -> AsyncIterator[Cloud]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        upstream = await stack.enter_async_context(faulty_upstream())
        engine = await stack.enter_async_context(
            engine_on(upstream, tariff=tariff, max_concurrency=200)
        )
        await stack.enter_async_context(agent_of(broker, engine, name="cloud", tier=Tier.CLOUD))
        if edge:
            script = ScriptedSettings(name="spark", tokens=5)
            await stack.enter_async_context(scripted_worker(broker, settings=script))
        doors = [await stack.enter_async_context(door_of(broker, "spark")) for _ in range(2)]
        store = await stack.enter_async_context(key_store(broker))
        yield Cloud(broker, store, doors, upstream)


async def test_a_budget_holds_over_parallel_requests(tmp_path: Path) -> None:
    """Of 100 requests at once on two gateways only as many reach the upstream as are paid for."""
    async with cloud(tmp_path) as mesh:
        budget = 0.002
        key, key_id = await known(mesh.store, *mesh.doors, cloud_usd_per_day=budget)
        outcomes = await asyncio.gather(
            *(outcome(mesh.doors[number % 2], key) for number in range(100))
        )
        answered = outcomes.count("cloud")
        assert set(outcomes) == {"cloud", "insufficient_quota"}
        assert mesh.upstream.calls == answered
        assert 0 < answered * CALL <= budget
        await mesh.settles_at(key_id, answered * CALL)


async def test_a_budget_is_used_up_to_its_end(tmp_path: Path) -> None:
    """What was reserved too much is there for the next request, on either gateway."""
    async with cloud(tmp_path) as mesh:
        budget = 0.002
        key, key_id = await known(mesh.store, *mesh.doors, cloud_usd_per_day=budget)
        outcomes: list[str] = []
        while not outcomes or outcomes[-1] == "cloud":
            outcomes.append(await outcome(mesh.doors[len(outcomes) % 2], key))
        spent = (len(outcomes) - 1) * CALL
        assert outcomes[-1] == "insufficient_quota"
        reserved = 0.0002  # a hundred bytes of body and five tokens at most
        assert budget - reserved < spent <= budget
        await mesh.settles_at(key_id, spent)


async def test_without_budget_the_edge_answers(tmp_path: Path) -> None:
    """A key that has none left is served by the edge; where it may not be, it is told why."""
    async with cloud(tmp_path, edge=True) as mesh:
        door = mesh.doors[0]
        await until(lambda: len(door.fleet.nodes()) == 2)
        key, _ = await known(mesh.store, door, cloud_usd_per_day=0.0)
        assert await outcome(door, key) == "edge"
        with pytest.raises(openai.RateLimitError) as refused:
            await raw(door, key, extra_headers={"x-mesh-policy": "cloud-only"})
        assert refused.value.code == refused.value.type == "insufficient_quota"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert mesh.upstream.calls == 0


async def test_who_is_turned_away_pays_nothing(tmp_path: Path) -> None:
    """An upstream that has no room for a request has not computed anything for it either."""
    async with cloud(tmp_path) as mesh:
        door = mesh.doors[0]
        key, key_id = await known(mesh.store, door, cloud_usd_per_day=1.0)
        mesh.upstream.fault = Fault.RATE_LIMITED
        assert await outcome(door, key) == "rate_limit_exceeded"
        assert mesh.upstream.calls == 1
        await mesh.settles_at(key_id, 0.0)


async def test_streams_are_paid_for_like_other_answers(tmp_path: Path) -> None:
    """A stream costs what it used; one that the client leaves, what it might have."""
    async with cloud(tmp_path) as mesh:
        door = mesh.doors[0]
        key, key_id = await known(mesh.store, door, cloud_usd_per_day=1.0)
        client = await door.client(key)
        stream = await client.chat.completions.create(
            model="spark", messages=MESSAGES, max_tokens=5, stream=True
        )
        assert len([chunk async for chunk in stream if chunk.choices]) > 1
        await mesh.settles_at(key_id, CALL)
        mesh.upstream.token_seconds = 60.0
        stream = await client.chat.completions.create(
            model="spark", messages=MESSAGES, max_tokens=5, stream=True
        )
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: mesh.upstream.open == 0)
        assert await mesh.spent(key_id) > round((CALL + 5 * 10e-6) * NANO)


async def test_unpriced_clouds_are_left_out(tmp_path: Path) -> None:
    """Where nobody says what tokens cost, a key with a budget stays at the edge."""
    async with cloud(tmp_path, tariff=None) as mesh:
        door = mesh.doors[0]
        key, _ = await known(mesh.store, door, cloud_usd_per_day=10.0)
        free, _ = await known(mesh.store, door)
        assert await outcome(door, key) == "model_not_found"
        assert await outcome(door, free) == "cloud"


async def test_a_damaged_account_grants_nothing(tmp_path: Path) -> None:
    """When the account cannot be read, the cloud is left out rather than paid on trust."""
    async with cloud(tmp_path) as mesh:
        door = mesh.doors[0]
        key, key_id = await known(mesh.store, door, cloud_usd_per_day=1.0)
        async with bus_of(mesh.broker, Role.ADMIN) as bus:
            account = await made_unreadable(Bucket(bus, SPENDING), key_id, door, key)
        assert account
        assert await outcome(door, key) == "insufficient_quota"
        assert mesh.upstream.calls == 1


async def made_unreadable(bucket: Bucket, key_id: str, door: Door, key: str) -> str:
    """Spend once, then damage the key's account; returns its name."""
    assert await outcome(door, key) == "cloud"

    async def is_settled() -> bool:
        return any(name.startswith(key_id) for name in await bucket.entries())

    await until_async(is_settled)
    (account,) = [name for name in await bucket.entries() if name.startswith(key_id)]
    await bucket.put(account, b"no record")
    return account


async def test_spending_survives_the_broker(tmp_path: Path) -> None:
    """After a SIGKILL of the broker the day's spending is what it was."""
    async with cloud(tmp_path) as mesh:
        key, key_id = await known(mesh.store, *mesh.doors, cloud_usd_per_day=1.0)
        assert await outcome(mesh.doors[0], key) == "cloud"
        await mesh.settles_at(key_id, CALL)
        killed = mesh.broker.pid
        os.kill(killed, signal.SIGKILL)
        await until(lambda: mesh.broker.pid != killed)

        async def is_back() -> bool:
            return await outcome(mesh.doors[1], key) == "cloud"

        await until_async(is_back)
        await mesh.settles_at(key_id, 2 * CALL)
