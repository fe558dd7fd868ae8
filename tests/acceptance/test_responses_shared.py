"""Responses at a real broker: shared by gateways, held to their policy, never left hanging."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from gateway.responses import lease
from gateway.responses.archive import key
from gateway.responses.store import RESPONSES, MemoryStore, store_at
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.errors import PermissionDenied
from schemas.fleet import Tier
from schemas.inference import Policy
from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.responses import Sharer, abandon, broker_with_buckets, client_at, sharer_at
from tests.support.wait import until, until_async
from workers.agent import Agent
from workers.scripted import ScriptedSettings

TEXT = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
SLOW = ScriptedSettings(slots=1, ttft_ms=60_000)


@asynccontextmanager
async def two_gateways(
    folder: Path, script: ScriptedSettings | None = None
) -> AsyncIterator[tuple[Agent, Sharer, Sharer]]:
    """Run two gateways and one worker at one broker."""
    async with (
        broker_with_buckets(folder) as broker,
        scripted_worker(broker, settings=script) as agent,
        sharer_at(broker, "scripted") as first,
        sharer_at(broker, "scripted") as second,
    ):
        yield agent, first, second


async def status_at(gateway: Sharer, response_id: str) -> str:
    """Return a response's status as a gateway tells it."""
    return str((await gateway.client.responses.retrieve(response_id)).status)


async def test_a_conversation_changes_gateways(tmp_path: Path) -> None:
    """What one gateway has answered another one retrieves, continues and deletes."""
    async with two_gateways(tmp_path) as (_, first, second):
        begun = await first.client.responses.create(model="scripted", input="one two")
        assert await second.client.responses.retrieve(begun.id) == begun
        next_turn = await second.client.responses.create(
            model="scripted", input="three", previous_response_id=begun.id
        )
        assert next_turn.usage is not None
        assert next_turn.usage.input_tokens == 2 + 16 + 1
        await second.client.responses.delete(begun.id)
        with pytest.raises(openai.NotFoundError):
            await first.client.responses.retrieve(begun.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await first.client.responses.create(
                model="scripted", input="four", previous_response_id=next_turn.id
            )
    assert caught.value.code == "previous_response_not_found"


async def test_a_background_response_is_cancelled_through_another_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway that runs it finds its lease revoked, and ends the work."""
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    async with two_gateways(tmp_path, SLOW) as (agent, first, second):
        begun = await first.client.responses.create(model="scripted", input="hi", background=True)
        await until(lambda: agent.running == 1)
        cancelled = await second.client.responses.cancel(begun.id)
        await until(lambda: agent.running == 0, within=2)
        assert cancelled.status == "cancelled"
        assert await status_at(first, begun.id) == "cancelled"


async def test_a_lease_outlasts_its_time_while_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that runs for longer than a lease lasts is not taken for lost."""
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.1)
    monkeypatch.setattr(lease, "LASTS", 1.0)
    script = ScriptedSettings(ttft_ms=1500)
    async with two_gateways(tmp_path, script) as (_, first, second):
        begun = await first.client.responses.create(model="scripted", input="hi", background=True)
        seen = ["in_progress"]

        async def is_over() -> bool:
            seen.append(await status_at(second, begun.id))
            return seen[-1] != "in_progress"

        await until_async(is_over)
        assert seen[-1] == "completed"


async def test_a_response_whose_gateway_has_died_is_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease runs out, and nobody waits for it for ever."""
    monkeypatch.setattr(lease, "LASTS", 1.0)
    async with broker_with_buckets(tmp_path) as broker, sharer_at(broker) as gateway:
        abandoned = (await abandon(gateway)).id
        assert await status_at(gateway, abandoned) == "in_progress"

        async def is_failed() -> bool:
            return await status_at(gateway, abandoned) == "failed"

        await until_async(is_failed, within=5)
        response = await gateway.client.responses.retrieve(abandoned)
        assert response.error is not None
        assert response.error.code == "server_error"


async def test_a_gateway_that_stops_says_what_it_leaves(tmp_path: Path) -> None:
    """Its background responses are failed at once, not when their leases run out."""
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW) as agent,
        sharer_at(broker, "scripted") as second,
    ):
        async with sharer_at(
            broker, "scripted", settings=GatewaySettings(drain_timeout=0.1)
        ) as first:
            begun = await first.client.responses.create(
                model="scripted", input="hi", background=True
            )
            await until(lambda: agent.running == 1)
        assert await status_at(second, begun.id) == "failed"


@asynccontextmanager
async def both_tiers(folder: Path) -> AsyncIterator[tuple[Broker, Agent, Sharer]]:
    """Run a gateway with a cloud worker; the edge worker is the test's own."""
    async with (
        broker_with_buckets(folder) as broker,
        scripted_worker(broker, "c1", Tier.CLOUD) as cloud,
        sharer_at(broker, "scripted") as gateway,
    ):
        yield broker, cloud, gateway


EDGE_ONLY = {"x-mesh-policy": Policy.EDGE_ONLY.value}
CLOUD_ONLY = {"x-mesh-policy": Policy.CLOUD_ONLY.value}
SOON = {"x-mesh-deadline-ms": "300"}


async def test_what_was_edge_only_never_goes_to_the_cloud(tmp_path: Path) -> None:
    """No later turn takes an edge-only conversation to the cloud, however it refers to it."""
    async with both_tiers(tmp_path) as (broker, cloud, gateway):
        ask = gateway.client.responses.create
        async with scripted_worker(broker, "e1"):
            await until(lambda: len(gateway.fleet.nodes()) == 2)
            secret = await ask(model="scripted", input="secret", extra_headers=EDGE_ONLY)
            later = await ask(model="scripted", input="more", previous_response_id=secret.id)
        for earlier in (secret, later):
            with pytest.raises(openai.PermissionDeniedError) as forbidden:
                await ask(
                    model="scripted",
                    input="more",
                    previous_response_id=earlier.id,
                    extra_headers=CLOUD_ONLY,
                )
            assert forbidden.value.code == "policy_forbidden"
            with pytest.raises(openai.APIStatusError):
                await ask(
                    model="scripted",
                    input="more",
                    previous_response_id=earlier.id,
                    extra_headers=SOON,
                )
            with pytest.raises(openai.APIStatusError):
                await ask(
                    model="scripted",
                    input=[
                        {"type": "item_reference", "id": earlier.output[0].id or ""},
                        {"role": "user", "content": "more"},
                    ],
                    extra_headers=SOON,
                )
        assert cloud.running == 0
        fresh = await gateway.client.responses.with_raw_response.create(
            model="scripted", input="hello"
        )
        assert fresh.headers["x-mesh-tier"] == "cloud"


async def test_what_the_cloud_has_made_may_be_continued_at_the_edge(tmp_path: Path) -> None:
    """Coming home is always allowed."""
    async with both_tiers(tmp_path) as (broker, _, gateway):
        first = await gateway.client.responses.create(
            model="scripted", input="hi", extra_headers=CLOUD_ONLY
        )
        async with scripted_worker(broker, "e1"):
            await until(lambda: len(gateway.fleet.nodes()) == 2)
            second = await gateway.client.responses.with_raw_response.create(
                model="scripted",
                input="hi",
                previous_response_id=first.id,
                extra_headers=EDGE_ONLY,
            )
    assert second.headers["x-mesh-tier"] == "edge"


async def test_an_edge_gateway_shares_the_store(tmp_path: Path) -> None:
    """The gateway that cannot reach the cloud keeps its responses with the others'."""
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted", role=Role.EDGE_GATEWAY) as edge,
        sharer_at(broker, "scripted") as other,
    ):
        begun = await edge.client.responses.create(model="scripted", input="hi")
        assert (await other.client.responses.retrieve(begun.id)).output_text == TEXT


async def test_no_gateway_lists_what_is_stored(tmp_path: Path) -> None:
    """The broker gives a gateway the entries whose keys it knows, and no list of them."""
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted") as gateway,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        response = await gateway.client.responses.create(model="scripted", input="hi")
        bucket = Bucket(bus, RESPONSES)
        assert await bucket.get(key("default", response.id)) is not None
        with pytest.raises(PermissionDenied):
            await bucket.entries()


async def test_items_are_referred_to(tmp_path: Path) -> None:
    """A client may name the items of stored responses instead of repeating them."""
    async with two_gateways(tmp_path) as (_, first, second):
        begun = await first.client.responses.create(model="scripted", input="one two")
        items = await first.client.responses.input_items.list(begun.id)
        again = await second.client.responses.create(
            model="scripted",
            input=[
                {"type": "item_reference", "id": items.data[0].id or ""},
                {"type": "item_reference", "id": begun.output[0].id or ""},
                {"role": "user", "content": "three"},
            ],
        )
        with pytest.raises(openai.BadRequestError) as caught:
            await second.client.responses.create(
                model="scripted", input=[{"type": "item_reference", "id": "msg_unknown"}]
            )
    assert again.usage is not None
    assert again.usage.input_tokens == 2 + 16 + 1
    assert caught.value.param == "input[0].id"


async def test_what_is_too_large_is_answered_and_not_stored(tmp_path: Path) -> None:
    """Only who asks for the store is refused; everybody else is told in the answer."""
    settings = GatewaySettings(max_response=2000, drain_timeout=2)
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted", settings=settings) as gateway,
    ):
        large = "word " * 500
        raw = await gateway.client.responses.with_raw_response.create(model="scripted", input=large)
        response = raw.parse()
        assert response.output_text == TEXT
        assert raw.headers["x-mesh-not-stored"] == "too_large"
        with pytest.raises(openai.NotFoundError):
            await gateway.client.responses.retrieve(response.id)
        for fields in ({"store": True}, {"background": True}):
            with pytest.raises(openai.APIStatusError) as caught:
                await gateway.client.responses.create(  # type: ignore[call-overload]
                    model="scripted", input=large, **fields
                )
            assert caught.value.status_code == 413
            assert (caught.value.code, caught.value.param) == ("response_too_large", "store")


async def test_without_a_bucket_a_gateway_remembers_by_itself(tmp_path: Path) -> None:
    """A broker that keeps nothing costs the sharing, not the API."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        assert isinstance(await store_at(bus), MemoryStore)


async def test_a_store_that_fails_costs_no_answer(tmp_path: Path) -> None:
    """What cannot be stored is answered, and says so; what lives by the store is refused."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        router_of(broker, "scripted") as (router, fleet),
        bus_of(broker, Role.GATEWAY) as bus,
        gateway_of(router, fleet, responses=Bucket(bus, RESPONSES)) as address,
        client_at(address) as client,
    ):
        raw = await client.responses.with_raw_response.create(model="scripted", input="hi")
        assert raw.headers["x-mesh-not-stored"] == "store_unavailable"
        assert raw.parse().to_dict()["store"] is False
        stream = await client.responses.create(model="scripted", input="hi", stream=True)
        *_, last = [event async for event in stream]
        assert last.type == "response.completed"
        assert last.response.to_dict()["store"] is False
        for ask in (
            client.responses.retrieve("resp_1"),
            client.responses.create(model="scripted", input="hi", background=True),
            client.responses.create(model="scripted", input="hi", previous_response_id="resp_1"),
        ):
            with pytest.raises(openai.InternalServerError) as caught:
                await ask
            assert caught.value.status_code == 503
