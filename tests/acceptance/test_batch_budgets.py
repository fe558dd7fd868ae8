"""Batches of keys with a budget for the cloud: what goes there is paid for, and no more goes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from gateway.app import build_app, serving
from gateway.auth import Caller, Gatekeeper, StoredKeys
from gateway.batches import drive
from gateway.pricing import NANO
from gateway.quotas import Quotas
from gateway.settings import GatewaySettings
from gateway.spending import Spending
from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.jobs.client import Jobs
from mesh.keys import SPENDING, digest
from mesh.subjects import JobSide
from schemas.fleet import Tariff, Tier
from schemas.keys import Spent
from schemas.wire import decoder
from tests.support.batches import batch_broker, ended, line, lines_of, submit
from tests.support.faulty_upstream import Fault, FaultyUpstream, faulty_upstream
from tests.support.jobs import SMALL, jobs_of, runner_of
from tests.support.keys import key_store
from tests.support.mesh import agent_of, bus_of, router_of, scripted_worker
from tests.support.responses import client_at
from tests.support.upstream import engine_on
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

TARIFF = Tariff(usd_per_million_in=0.1, usd_per_million_out=10.0, max_output=100)
CALL = 11 * 0.1e-6 + 5 * 10.0e-6
"""What the upstream's answer costs, by the tokens it tells."""
CLOUD_ONLY = {"x-mesh-policy": "cloud-only"}
KEY = "key_1"
SLOTS = 8


@pytest.fixture(autouse=True)
def knows_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no gateway wait for adverts: each has heard of the cloud before it serves."""
    monkeypatch.setattr(drive, "HEARD_WITHIN", 0.0)


@dataclass(frozen=True)
class Cloud:
    """A mesh whose cloud costs money."""

    broker: Broker
    upstream: FaultyUpstream

    async def spent(self) -> int:
        """Return what stands in the key's accounts, in billionths of a dollar."""
        async with bus_of(self.broker, Role.ADMIN) as bus:
            entries = await Bucket(bus, SPENDING).entries()
        return sum(decoder(Spent).decode(entry.value).nano_usd for entry in entries.values())

    async def settles_at(self, usd: float) -> None:
        """Wait until the accounts show what was really spent."""

        async def is_settled() -> bool:
            return await self.spent() == round(usd * NANO)

        await until_async(is_settled)


@asynccontextmanager
async def cloud(folder: Path, *, edge: bool = False) -> AsyncIterator[Cloud]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(folder))
        await stack.enter_async_context(key_store(broker))
        upstream = await stack.enter_async_context(faulty_upstream())
        engine = await stack.enter_async_context(
            engine_on(upstream, tariff=TARIFF, max_concurrency=SLOTS)
        )
        await stack.enter_async_context(agent_of(broker, engine, name="cloud", tier=Tier.CLOUD))
        if edge:
            script = ScriptedSettings(name="spark", tokens=5)
            await stack.enter_async_context(scripted_worker(broker, settings=script))
            await stack.enter_async_context(runner_of(broker, JobSide.EDGE, SMALL, "spark"))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, "spark"))
        yield Cloud(broker, upstream)


@asynccontextmanager
async def client_with(mesh: Cloud, usd_per_day: float) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client with a budget, of a gateway of its own."""
    settings = GatewaySettings(port=0, drain_timeout=1)
    caller = Caller(tenant="t", key=KEY, cloud_usd_per_day=usd_per_day)
    gatekeeper = Gatekeeper(())
    gatekeeper.learn(StoredKeys(callers={digest("sk-t"): caller}, required=True))
    async with (
        router_of(mesh.broker, "spark") as (router, fleet),
        bus_of(mesh.broker, Role.GATEWAY) as bus,
    ):
        await until(lambda: bool(fleet.seats("spark", Tier.CLOUD)))
        spending = Spending(bus)
        quotas = Quotas(fleet, spending)
        app = build_app(router, fleet, settings, gatekeeper=gatekeeper, quotas=quotas, bus=bus)
        async with (
            background(spending.run),
            serving(app, settings) as address,
            client_at(address, key="sk-t") as client,
        ):
            yield client


def asked(name: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "count"}]
    return line(name, model="spark", max_tokens=5, messages=messages)


async def answers_of(client: openai.AsyncOpenAI, batch: Batch) -> tuple[list[Any], list[Any]]:
    """Return what came out of a batch, and what went wrong."""
    output = await lines_of(client, batch.output_file_id)
    return output, await lines_of(client, batch.error_file_id)


async def test_a_budget_holds_for_the_lines_of_batches(tmp_path: Path) -> None:
    """As many as can be paid for are computed, though all are asked for at once of two gateways.

    The others are refused as over HTTP, and what was set aside too much comes back.
    """
    budget, names = 0.001, [f"r{number}" for number in range(20)]
    async with (
        cloud(tmp_path) as mesh,
        client_with(mesh, budget) as one,
        client_with(mesh, budget) as other,
    ):
        batches = [
            await submit(client, map(asked, names), extra_headers=CLOUD_ONLY)
            for client in (one, other)
        ]
        good: list[Any] = []
        bad: list[Any] = []
        for batch in batches:
            output, errors = await answers_of(one, await ended(one, batch, within=60))
            assert sorted(each["custom_id"] for each in (*output, *errors)) == sorted(names)
            good, bad = good + output, bad + errors

        assert {each["response"]["status_code"] for each in bad} == {429}
        codes = {each["response"]["body"]["error"]["code"] for each in bad}
        assert codes == {"insufficient_quota"}
        assert mesh.upstream.calls == len(good)
        assert 0 < len(good) * CALL <= budget
        await mesh.settles_at(len(good) * CALL)


async def test_a_cancelled_batch_gives_back_what_was_not_begun(tmp_path: Path) -> None:
    """Lines that the cloud has begun count as they might have cost, those that wait not at all."""
    async with (
        cloud(tmp_path) as mesh,
        client_with(mesh, 1.0) as client,
        jobs_of(mesh.broker, "t") as jobs,
    ):
        mesh.upstream.token_seconds = 60.0
        names = [f"r{number}" for number in range(10, 30)]
        batch = await submit(client, map(asked, names), extra_headers=CLOUD_ONLY)
        await until(lambda: mesh.upstream.calls == SLOTS, within=20)
        await until_async(lambda: are_there(jobs, len(names)))
        aside = await mesh.spent()
        await client.batches.cancel(batch.id)
        assert (await ended(client, batch)).status == "cancelled"

        async def is_settled() -> bool:
            return SLOTS * aside // len(names) <= await mesh.spent() < aside

        await until_async(is_settled)


async def are_there(jobs: Jobs, count: int) -> bool:
    return len((await jobs.list()).jobs) == count


async def test_without_budget_the_edge_computes_the_lines(tmp_path: Path) -> None:
    """What cannot be paid for is computed at the edge, where that has the model."""
    async with cloud(tmp_path, edge=True) as mesh, client_with(mesh, 0.0) as client:
        done = await ended(client, await submit(client, [asked("a"), asked("b")]))
        good, bad = await answers_of(client, done)
        assert (len(good), bad) == (2, [])
        assert mesh.upstream.calls == 0


async def test_without_an_edge_a_used_up_budget_is_told(tmp_path: Path) -> None:
    """A line that the cloud alone could compute is refused, whatever its policy."""
    async with cloud(tmp_path) as mesh, client_with(mesh, 0.0) as client:
        done = await ended(client, await submit(client, [asked("a")]))
        _, (bad,) = await answers_of(client, done)
        assert bad["response"]["body"]["error"]["code"] == "insufficient_quota"


async def test_what_the_edge_computes_costs_nothing(tmp_path: Path) -> None:
    """Whatever was set aside for a job comes back if it never went to the cloud."""
    async with cloud(tmp_path, edge=True) as mesh, client_with(mesh, 1.0) as client:
        done = await ended(client, await submit(client, [asked("a"), asked("b")]))
        assert len((await answers_of(client, done))[0]) == 2
        await mesh.settles_at(mesh.upstream.calls * CALL)


async def test_whoever_takes_over_settles_what_was_set_aside(tmp_path: Path) -> None:
    """Nothing is counted twice, and nothing for ever, when another gateway goes on."""
    async with cloud(tmp_path) as mesh:
        mesh.upstream.token_seconds = 0.1
        async with client_with(mesh, 1.0) as client:
            batch = await submit(client, map(asked, "abcd"), extra_headers=CLOUD_ONLY)
            await until(lambda: mesh.upstream.calls > 0, within=20)
            assert await mesh.spent() > round(4 * CALL * NANO)
        async with client_with(mesh, 1.0) as client:
            done = await ended(client, batch, within=60)
            assert len((await answers_of(client, done))[0]) == 4
            assert mesh.upstream.calls == 4
            await mesh.settles_at(4 * CALL)


async def test_a_cloud_attempt_without_an_answer_counts_as_set_aside(tmp_path: Path) -> None:
    """Nobody knows what it cost; it is not repeated, for a second one would not be paid for."""
    async with cloud(tmp_path) as mesh, client_with(mesh, 1.0) as client:
        mesh.upstream.fault = Fault.MALFORMED
        batch = await submit(client, [asked("a")], extra_headers=CLOUD_ONLY)
        done = await ended(client, batch, within=60)
        _, (bad,) = await answers_of(client, done)
        assert bad["response"]["status_code"] == 502
        assert mesh.upstream.calls == 1
        assert CALL < await mesh.spent() / NANO < 2 * CALL


async def test_an_upstream_that_turns_a_line_away_is_asked_again(tmp_path: Path) -> None:
    """Nothing was computed and nothing spent: the budget's one attempt is still to come."""
    async with cloud(tmp_path) as mesh, client_with(mesh, 1.0) as client:
        mesh.upstream.fault, mesh.upstream.retry_after = Fault.RATE_LIMITED, "0"
        batch = await submit(client, [asked("a")], extra_headers=CLOUD_ONLY)
        await until(lambda: mesh.upstream.calls > 0, within=20)
        mesh.upstream.fault = Fault.NONE
        done = await ended(client, batch, within=60)
        assert len((await answers_of(client, done))[0]) == 1
        await mesh.settles_at(CALL)
