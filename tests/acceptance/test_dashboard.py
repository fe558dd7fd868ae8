"""The dashboard: the page and its feed over HTTP, and in a real browser where one is installed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai

from gateway.auth import ApiKey
from gateway.dashboard.endpoint import FILES
from gateway.settings import GatewaySettings
from schemas.dashboard import Snapshot
from schemas.fleet import Tier
from schemas.inference import Policy
from tests.support.browser import browser_page, needs_chromium
from tests.support.gateway import Mesh, gateway_of, running_mesh
from tests.support.keys import Door, door_of, key_store, made
from tests.support.mesh import broker_in, router_of, scripted_worker
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

CANARY = "canary-77ab"
KEYED = GatewaySettings(drain_timeout=1, keys=(ApiKey.parse("sk-good"),))


@asynccontextmanager
async def watching(url: str, key: str | None = None) -> AsyncIterator[AsyncIterator[Snapshot]]:
    """Follow the feed."""

    async def snapshots(answer: aiohttp.ClientResponse) -> AsyncIterator[Snapshot]:
        async for line in answer.content:
            if line.startswith(b"data: "):
                yield msgspec.json.decode(line[6:], type=Snapshot)

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 20) as session,
        session.get(f"{url}/dashboard/events", headers=headers) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield snapshots(answer)


async def first(url: str, key: str | None = None) -> Snapshot:
    """Return the snapshot that a newcomer gets at once."""
    async with asyncio.timeout(5), watching(url, key) as snapshots:
        return await anext(snapshots)


async def ask(mesh: Mesh, **fields: Any) -> int:
    body = {"model": "scripted", "messages": [{"role": "user", "content": f"a {CANARY}"}]} | fields
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.url}/v1/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status


async def test_the_page_is_whole_and_brings_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Every file is there with a strict policy, and none names another host or runs inline."""
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        texts = {}
        for path, _, kind in FILES:
            async with session.get(mesh.url + path) as answer:
                texts[path] = await answer.text()
                assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'")
                assert "unsafe" not in policy
    page = texts["/"]
    assert all(f'"{path}"' in page for path in ("/dashboard/style.css", "/dashboard/app.js"))
    links = [text.replace("http://www.w3.org/2000/svg", "") for text in texts.values()]
    assert not any("http://" in text or "https://" in text for text in links)
    assert " style=" not in page
    assert "onclick" not in page


async def test_a_snapshot_tells_fleet_flow_and_failures(tmp_path: Path) -> None:
    """What happened before anybody watched is there at once, and nothing that was said."""
    async with running_mesh(tmp_path) as mesh:
        assert await ask(mesh) == 200
        assert await ask(mesh, stream=True) == 200
        assert await ask(mesh, temperature=9) == 400
        found = await first(mesh.url)
    (worker,) = found.workers
    assert (worker.name, worker.tier, worker.models[0].slots) == ("w1", Tier.EDGE, 4)
    assert (found.models[0].name, found.models[0].free) == ("scripted", 4)
    assert (found.edge.requests, found.edge.completion_tokens) == (2, 32)
    assert (found.cloud.requests, found.refused, found.in_flight) == (0, 1, 0)
    assert [(failure.code, failure.model) for failure in found.failures] == [
        ("invalid_request", "other")
    ]
    assert not found.priced
    assert CANARY not in msgspec.json.encode(found).decode()


async def test_snapshots_follow_each_other_while_a_stream_runs(tmp_path: Path) -> None:
    """The second snapshot shows the busy slot, the open request and its tokens per second."""
    script = ScriptedSettings(tps=100, tokens=100_000)
    async with running_mesh(tmp_path, script=script) as mesh, watching(mesh.url) as snapshots:
        before = await anext(snapshots)
        asking = asyncio.create_task(ask(mesh, stream=True))
        await until(lambda: mesh.router.written[Tier.EDGE] > 20)
        during = await anext(snapshots)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert 0.9 < during.at - before.at < 2
    assert (before.in_flight, during.in_flight) == (0, 1)
    assert during.workers[0].models[0].free == 3
    assert 10 < during.edge.tokens_per_second < 200
    assert during.workers[0].tokens_per_second == during.edge.tokens_per_second


async def test_the_feed_needs_a_key_where_requests_do(tmp_path: Path) -> None:
    """The page itself holds nothing and is open; what it shows is not."""
    async with running_mesh(tmp_path, settings=KEYED) as mesh, aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer sk-wrong"}):
            async with session.get(f"{mesh.url}/dashboard/events", headers=headers) as answer:
                assert answer.status == 401
        async with session.get(f"{mesh.url}/") as answer:
            assert answer.status == 200
        assert (await first(mesh.url, "sk-good")).workers


async def test_a_tenant_sees_its_own_requests_and_the_models_it_may_use(tmp_path: Path) -> None:
    """Of others a key's holder sees the load alone; an operator sees what went on, not what."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(tmp_path))
        for name in ("open", "secret"):
            script = ScriptedSettings(name=f"{name}-model")
            await stack.enter_async_context(scripted_worker(broker, name, settings=script))
        store = await stack.enter_async_context(key_store(broker))
        door = await stack.enter_async_context(door_of(broker, "open-model", "secret-model"))
        acme, _ = await made(store, tenant="acme", models=("open-model",))
        zeta, _ = await made(store, tenant="zeta")
        operator, _ = await made(store, tenant="acme", operator=True)
        await until(lambda: all(door.knows(key) for key in (acme, zeta, operator)))
        for key, model in ((acme, "open-model"), (zeta, "secret-model"), (zeta, CANARY)):
            await attempt(door, key, model)
        seen = {key: await first(door.url, key) for key in (acme, zeta, operator)}

    assert [seen[key].tenant for key in seen] == ["acme", "zeta", ""]
    assert [seen[key].edge.requests for key in seen] == [1, 1, 2]
    assert [len(seen[key].failures) for key in seen] == [0, 1, 1]
    assert [sorted(worker.name for worker in seen[key].workers) for key in seen] == [
        ["open"],
        ["open", "secret"],
        ["open", "secret"],
    ]
    assert [model.name for model in seen[acme].models] == ["open-model"]
    assert "secret" not in msgspec.json.encode(seen[acme]).decode()
    assert CANARY not in msgspec.json.encode(seen[operator]).decode()


async def attempt(door: Door, key: str, model: str) -> None:
    """Ask, whether or not there is such a model."""
    client = await door.client(key)
    with suppress(openai.NotFoundError):
        await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": CANARY}]
        )


async def test_an_edge_only_key_sees_no_cloud(tmp_path: Path) -> None:
    """Workers that its requests never get to are not its business."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "cloudy", Tier.CLOUD),
        scripted_worker(broker, "edgy"),
        key_store(broker) as store,
        door_of(broker, "scripted") as door,
    ):
        key, _ = await made(store, policy=Policy.EDGE_ONLY)
        await until(lambda: door.knows(key) and len(door.fleet.nodes()) == 2)
        found = await first(door.url, key)
    assert [worker.name for worker in found.workers] == ["edgy"]


async def test_watchers_are_bounded(tmp_path: Path) -> None:
    """One too many is told so, and has a place once another has left."""
    settings = GatewaySettings(drain_timeout=1, max_watchers=1)
    async with running_mesh(tmp_path, settings=settings) as mesh:
        async with watching(mesh.url) as snapshots:
            await anext(snapshots)
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{mesh.url}/dashboard/events") as answer,
            ):
                assert answer.status == 503
                assert (await answer.json())["error"]["code"] == "too_many_watchers"
        await until_async(lambda: _has_a_place(mesh.url))


async def _has_a_place(url: str) -> bool:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/dashboard/events") as answer,
    ):
        return answer.status == 200


async def test_an_open_page_does_not_hold_up_the_end_of_a_gateway(tmp_path: Path) -> None:
    """The feed ends when the gateway stops, long before the time to drain is over."""
    async with (
        broker_in(tmp_path) as broker,
        router_of(broker) as (router, fleet),
        AsyncExitStack() as stack,
    ):
        gateway = gateway_of(router, fleet, GatewaySettings(drain_timeout=20))
        address = await stack.enter_async_context(gateway)
        async with watching(address.url.removesuffix("/v1")) as snapshots:
            await anext(snapshots)
            async with asyncio.timeout(3):
                await stack.aclose()
                assert [snapshot async for snapshot in snapshots] == []


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    """A gateway without a dashboard has no page at its root."""
    settings = GatewaySettings(drain_timeout=1, dashboard=False)
    async with running_mesh(tmp_path, settings=settings) as mesh, aiohttp.ClientSession() as http:
        for path in ("/", "/dashboard/events"):
            async with http.get(mesh.url + path) as answer:
                assert answer.status == 404


def text_of(selector: str) -> str:
    """Return a script that reads the text of an element."""
    return f"document.querySelector({json.dumps(selector)}).textContent"


@needs_chromium
async def test_a_browser_shows_the_fleet_and_talks_to_it(tmp_path: Path) -> None:
    """Empty at first, then with a worker; the chat box answers; nothing breaks the policy."""
    async with (
        broker_in(tmp_path / "mesh") as broker,
        router_of(broker) as (router, fleet),
        gateway_of(router, fleet) as address,
        browser_page(tmp_path / "profile") as page,
    ):
        await page.open(address.url.removesuffix("/v1") + "/")
        await page.until("document.querySelector('#nobody')?.hidden === false")
        assert await page.evaluate("document.querySelector('#send').disabled")
        async with scripted_worker(broker):
            await page.until("document.querySelectorAll('#fleet tbody tr').length === 1")
            assert "w1" in await page.evaluate(text_of("#fleet tbody"))
            assert await page.evaluate("document.querySelector('#nobody').hidden")
            await page.evaluate("document.querySelector('#prompt').focus()")
            await page.type("count")
            await page.press("Enter", "\r")
            await page.until("document.querySelector('.turn small b')?.textContent === 'edge'")
            assert "0 1 2 3 4 5 6 7" in await page.evaluate(text_of("#talk"))
            await page.until(f"{text_of('#flow')}.includes('1 · edge')")
        assert page.complaints == []
        assert page.hosts == {f"{address.host}:{address.port}"}


@needs_chromium
async def test_a_browser_asks_for_the_key_and_keeps_it_in_the_tab(tmp_path: Path) -> None:
    """A wrong key is told, a right one opens the page and the chat box, and it can be forgotten."""
    async with (
        running_mesh(tmp_path / "mesh", settings=KEYED) as mesh,
        browser_page(tmp_path / "profile") as page,
    ):
        await page.open(mesh.url + "/")
        for key in ("sk-wrong", "sk-good"):
            await page.until("document.querySelector('#ask-key')?.open")
            await page.evaluate("document.querySelector('#key-value').focus()")
            await page.type(key)
            await page.press("Enter", "\r")
            if key == "sk-wrong":
                await page.until(f"{text_of('#key-wrong')} !== ''")
        await page.until("document.querySelector('#link').dataset.state === 'live'")
        await page.evaluate("document.querySelector('#prompt').value = 'count'")
        await page.evaluate("document.querySelector('#ask').requestSubmit()")
        await page.until("document.querySelector('.turn small b')?.textContent === 'edge'")
        assert await page.evaluate("Object.keys(localStorage).includes('mesh-api-key')") is False
        await page.evaluate("document.querySelector('#key').click()")
        await page.until("document.querySelector('#ask-key')?.open")
        assert await page.evaluate("sessionStorage.getItem('mesh-api-key')") is None


@needs_chromium
async def test_a_browser_never_scrolls_sideways(tmp_path: Path) -> None:
    """The page fits the window at every width, with a long model name and many slots in it."""
    script = ScriptedSettings(name="a-model-with-a-name-that-goes-on-and-on-" * 3, slots=40)
    async with (
        running_mesh(tmp_path / "mesh", script=script) as mesh,
        browser_page(tmp_path / "profile") as page,
    ):
        await page.open(mesh.url + "/")
        await page.until("document.querySelectorAll('#fleet tbody tr').length === 1")
        overhang = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for width in (1280, 900, 420):
            await page.size(width, 800)
            assert (width, await page.evaluate(overhang)) == (width, 0)


@needs_chromium
async def test_a_phone_shows_the_switches_beside_the_name(tmp_path: Path) -> None:
    """On a narrow window the version goes below, not the buttons."""
    async with (
        running_mesh(tmp_path / "mesh") as mesh,
        browser_page(tmp_path / "profile") as page,
    ):
        await page.size(420, 800)
        await page.open(mesh.url + "/")
        await page.until("document.querySelector('#about')?.textContent")
        above = "(one, other) => document.querySelector(one).getBoundingClientRect().bottom <= "
        above += "document.querySelector(other).getBoundingClientRect().top"
        assert await page.evaluate(f"({above})('.tools', '#about')")
