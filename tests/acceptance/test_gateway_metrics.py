"""``GET /metrics`` as Prometheus reads it, after real requests on edge and cloud."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.app import Address
from gateway.prices import Prices
from gateway.settings import GatewaySettings
from mesh.broker import Broker
from schemas.fleet import Tier
from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, router_of, scripted_worker
from tests.support.wait import until_async
from workers.scripted import ScriptedSettings

OBSERVABILITY = Path(__file__).parents[2] / "docs" / "observability.md"
Figures = dict[tuple[str, ...], float]
SLOW = ScriptedSettings(slots=1, tps=50, tokens=100_000)


@asynccontextmanager
async def edge_and_cloud(
    folder: Path, edge: ScriptedSettings | None = None
) -> AsyncIterator[Address]:
    """Run a gateway with a model on an edge worker and another one in the cloud."""
    prices = Prices(usd_per_million_in=1_000_000, usd_per_million_out=2_000_000)
    settings = GatewaySettings(drain_timeout=1, prices=prices)
    big = ScriptedSettings(name="big", tokens=4)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        await stack.enter_async_context(scripted_worker(broker, settings=edge))
        await stack.enter_async_context(scripted_worker(broker, "sky", Tier.CLOUD, big))
        routing = router_of(broker, "scripted", "big", workers=2)
        router, fleet = await stack.enter_async_context(routing)
        yield await stack.enter_async_context(gateway_of(router, fleet, settings))


async def ask(address: Address, **fields: Any) -> int:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "a b c"}]} | fields
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{address.url}/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status


async def page(address: Address) -> str:
    url = f"{address.url.removesuffix('/v1')}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def figures(address: Address) -> Figures:
    """Return every sample by its name and its labels' values, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(await page(address))
        for sample in family.samples
    }


async def test_requests_are_counted_by_where_they_ran_and_how_they_ended(tmp_path: Path) -> None:
    """Requests, attempts, tokens, times and the reason of a fallback add up."""
    async with edge_and_cloud(tmp_path) as address:
        assert await ask(address) == 200
        assert await ask(address, stream=True, max_tokens=5) == 200
        assert await ask(address, model="big") == 200
        found = await figures(address)
    expected = {
        ("mesh_requests_total", "scripted", "ok", "edge"): 2,
        ("mesh_requests_total", "big", "ok", "cloud"): 1,
        ("mesh_attempts_total", "scripted", "ok", "edge"): 2,
        ("mesh_attempts_total", "big", "ok", "cloud"): 1,
        ("mesh_fallbacks_total", "no_model"): 1,
        ("mesh_tokens_total", "prompt", "scripted", "edge"): 6,
        ("mesh_tokens_total", "completion", "scripted", "edge"): 21,
        ("mesh_cached_tokens_total", "scripted", "edge"): 0,
        ("mesh_time_to_first_token_seconds_count", "scripted", "edge"): 1,
        ("mesh_queue_wait_seconds_count", "scripted", "edge"): 2,
        ("mesh_request_duration_seconds_count", "big", "cloud"): 1,
        ("mesh_output_tokens_total", "edge"): 21,
        ("mesh_output_tokens_total", "cloud"): 4,
        ("mesh_slots", "scripted", "edge"): 4,
        ("mesh_slots_free", "big", "cloud"): 4,
        ("mesh_requests_waiting", "big"): 0,
        ("mesh_workers", "edge"): 1,
        ("mesh_workers", "cloud"): 1,
        ("mesh_requests_in_flight",): 0,
    }
    assert expected == {key: found.get(key) for key in expected}


async def test_money_is_counted_at_the_configured_prices(tmp_path: Path) -> None:
    """The cloud's tokens are spent, the edge's are what the cloud did not get."""
    async with edge_and_cloud(tmp_path) as address:
        await ask(address)
        await ask(address, model="big")
        found = await figures(address)
    assert found["mesh_cloud_spend_usd_total", "big"] == 3 * 1 + 4 * 2
    assert found["mesh_cloud_spend_avoided_usd_total", "scripted"] == 3 * 1 + 16 * 2


async def test_pauses_of_a_stream_are_counted_per_output(tmp_path: Path) -> None:
    """Tokens that share a message are one output, and the first has no pause before it."""
    async with edge_and_cloud(tmp_path, ScriptedSettings(tps=100, tokens=10)) as address:
        await ask(address, stream=True)
        found = await figures(address)
    pauses = found["mesh_inter_token_gap_seconds_count", "scripted", "edge"]
    assert 1 <= pauses < 10
    assert found["mesh_inter_token_gap_seconds_sum", "scripted", "edge"] < 0.5


async def test_who_waits_and_who_goes_away_shows(tmp_path: Path) -> None:
    """A request in line is seen there; one whose client leaves counts as a cancelled attempt."""
    async with edge_and_cloud(tmp_path, SLOW) as address, aiohttp.ClientSession() as session:

        async def seen(*key: str) -> bool:
            return (await figures(address)).get(key) == 1

        url = f"{address.url}/chat/completions"
        turns = [{"role": "user", "content": "count"}]
        body: dict[str, Any] = {"model": "scripted", "messages": turns, "stream": True}
        async with session.post(url, json=body) as first:
            assert first.status == 200
            impatient = aiohttp.ClientTimeout(0.2)
            with suppress(TimeoutError):
                async with session.post(url, json=body, timeout=impatient):
                    pass
        await until_async(lambda: seen("mesh_attempts_total", "scripted", "cancelled", "edge"))
        found = await figures(address)
    assert found["mesh_requests_total", "scripted", "disconnected", "edge"] == 1
    assert found["mesh_requests_total", "scripted", "disconnected", "none"] == 1
    assert found["mesh_queue_wait_seconds_sum", "scripted", "none"] > 0.1


@asynccontextmanager
async def leaving_workers(
    broker: Broker, script: ScriptedSettings, *names: str
) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """Run workers that vanish without a word when their task is cancelled."""

    async def serve(name: str) -> None:
        async with scripted_worker(broker, name, settings=script):
            await asyncio.Event().wait()

    tasks = {name: asyncio.create_task(serve(name)) for name in names}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def test_an_answer_that_another_worker_goes_on_with_is_a_resume(tmp_path: Path) -> None:
    """The lost attempt, the one that followed and the resume are all counted; the request is ok."""
    script = ScriptedSettings(tps=100, tokens=150)
    async with (
        broker_in(tmp_path) as broker,
        leaving_workers(broker, script, "w1", "w2") as workers,
        router_of(broker, "scripted", workers=2) as (router, fleet),
        gateway_of(router, fleet) as address,
        aiohttp.ClientSession() as session,
    ):
        turns = [{"role": "user", "content": "count"}]
        body = {"model": "scripted", "messages": turns, "stream": True}
        async with session.post(f"{address.url}/chat/completions", json=body) as answer:
            workers[answer.headers["x-mesh-worker"]].cancel()
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        found = await figures(address)
    assert found["mesh_resumes_total", "scripted"] == 1
    assert found["mesh_requests_total", "scripted", "ok", "edge"] == 1
    assert found["mesh_attempts_total", "scripted", "ok", "edge"] == 1
    lost = [key for key in found if key[0] == "mesh_attempts_total" and key[2] != "ok"]
    assert len(lost) == 1


async def test_names_that_clients_make_up_become_no_label(tmp_path: Path) -> None:
    """However many models are asked for, the number of series stays the same."""
    async with edge_and_cloud(tmp_path) as address:
        await until_async(lambda: _settled(address))
        before = set(await figures(address))
        for number in range(20):
            assert await ask(address, model=f"made-up-{number}") == 404
        after = await figures(address)
    assert set(after) == before
    assert after["mesh_requests_total", "other", "model_not_found", "none"] == 21
    assert not any("made-up" in label for key in after for label in key)


async def _settled(address: Address) -> bool:
    """Tell whether the fleet has been heard in full, so that an unknown model is known as such."""
    return await ask(address, model="made-up") == 404


async def test_the_page_follows_the_conventions(tmp_path: Path) -> None:
    """Every family is explained, counters end in total, times are seconds, no birthdays."""
    async with edge_and_cloud(tmp_path) as address:
        await ask(address)
        families = list(parse(text := await page(address)))
    own = [family for family in families if family.name.startswith("mesh_")]
    assert len(own) >= 15
    assert [family.name for family in own if not family.documentation.endswith(".")] == []
    counters = [family for family in own if family.type == "counter"]
    assert all(s.name.endswith("_total") for family in counters for s in family.samples)
    histograms = [family.name for family in own if family.type == "histogram"]
    assert histograms
    assert [name for name in histograms if not name.endswith("_seconds")] == []
    assert "_created" not in text
    units = ("_ms", "_milliseconds", "_minutes", "_kib", "_mib", "_percent", "_microseconds")
    gauges = [family for family in own if family.type == "gauge"]
    assert not any(family.name.endswith((*units, "_total", "_count")) for family in gauges)
    assert not any(family.name.endswith(units) for family in own)
    reserved = {"le", "quantile", "instance", "job"}
    labels = {label for family in own for sample in family.samples for label in sample.labels}
    assert labels & reserved <= {"le"}  # of the buckets themselves


def documented() -> dict[str, tuple[str, set[str]]]:
    """Return type and labels of every metric by the table of the documentation."""
    found = {}
    for line in OBSERVABILITY.read_text().splitlines():
        if line.startswith("| `mesh_"):
            _, names, kind, labels, *_ = line.split("|")
            for name in re.findall(r"mesh_\w+", names):
                found[name] = (kind.strip(), set(re.findall(r"\w+", labels)))
    return found


async def test_every_metric_is_documented(tmp_path: Path) -> None:
    """The table names what the page shows, with its type and its labels, and nothing else."""
    async with edge_and_cloud(tmp_path) as address:
        await ask(address, stream=True)
        await ask(address, model="big")
        families = [f for f in parse(await page(address)) if f.name.startswith("mesh_")]
    told, shown = documented(), dict[str, tuple[str, set[str]]]()
    for family in families:
        name = family.name + "_total" * (family.type == "counter")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        # What has not been counted yet has no labels to show.
        shown[name] = (family.type, labels) if family.samples else told.get(name, ("", set()))
    assert shown == told
