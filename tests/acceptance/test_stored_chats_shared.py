"""Stored chat completions at the broker: shared by its gateways, and gone in time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from gateway.chats.store import ROW_BUCKET, ChatStore, MemoryRows, chats_at
from gateway.responses.store import RESPONSES
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from tests.support.chats import HELLO, TEXT, listed, stored
from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.responses import Sharer, broker_with_buckets, client_at, sharer_at
from tests.support.wait import until_async


@asynccontextmanager
async def two_gateways(folder: Path) -> AsyncIterator[tuple[Broker, Sharer, Sharer]]:
    """Run two gateways that keep what they make at one broker."""
    async with (
        broker_with_buckets(folder) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted") as first,
        sharer_at(broker, "scripted") as second,
    ):
        yield broker, first, second


async def test_an_answer_is_found_again_through_any_gateway(tmp_path: Path) -> None:
    """What was answered is what is looked up, metadata and all, and a list has it."""
    async with two_gateways(tmp_path) as (_, first, second):
        answer = await stored(first.client, topic="brokers")
        found = await second.client.chat.completions.retrieve(answer.id)
        pages = await second.client.chat.completions.list()

    assert answer.choices[0].message.content == TEXT
    assert answer.metadata == {"topic": "brokers"}
    assert found == answer
    assert pages.data == [answer]
    assert pages.has_more is False


async def test_metadata_are_changed_all_at_once(tmp_path: Path) -> None:
    """A change takes the place of all metadata; nothing else of the answer changes."""
    async with two_gateways(tmp_path) as (_, first, second):
        answer = await stored(first.client, a="1", b="2")
        changed = await second.client.chat.completions.update(answer.id, metadata={"c": "3"})
        found = await first.client.chat.completions.retrieve(answer.id)
        cleared = await first.client.chat.completions.update(answer.id, metadata=None)

        assert changed.metadata == {"c": "3"}
        assert changed == found == answer.model_copy(update={"metadata": {"c": "3"}})
        assert cleared.metadata == {}
        assert await listed(second.client, metadata={"c": "3"}) == []


async def test_what_was_deleted_is_gone(tmp_path: Path) -> None:
    """A deleted answer is found nowhere: not by its id, not in a list, not a second time."""
    async with two_gateways(tmp_path) as (_, first, second):
        answer, other = await stored(first.client), await stored(first.client)
        deleted = await second.client.chat.completions.delete(answer.id)

        assert deleted.to_dict() == {
            "object": "chat.completion.deleted",
            "id": answer.id,
            "deleted": True,
        }
        for ask in (
            first.client.chat.completions.retrieve(answer.id),
            first.client.chat.completions.update(answer.id, metadata={}),
            first.client.chat.completions.delete(answer.id),
            first.client.chat.completions.retrieve("no.such/id"),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask
        assert await listed(first.client) == [other.id]


async def test_answers_expire_and_a_change_keeps_their_time(tmp_path: Path) -> None:
    """The broker itself removes them when their time is over, which a change does not put off."""
    settings = GatewaySettings(response_ttl=1.0, drain_timeout=2)
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted", settings=settings) as gateway,
    ):
        answer = await stored(gateway.client)
        await gateway.client.chat.completions.update(answer.id, metadata={"a": "b"})

        async def gone() -> bool:
            return await listed(gateway.client) == []

        await until_async(gone, within=20)
        with pytest.raises(openai.NotFoundError):
            await gateway.client.chat.completions.retrieve(answer.id)


async def test_an_edge_gateway_shares_the_store(tmp_path: Path) -> None:
    """What the gateway keeps that cannot reach the cloud, the others find, and the other way."""
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted", role=Role.EDGE_GATEWAY) as edge,
        sharer_at(broker, "scripted") as other,
    ):
        answers = [await stored(edge.client), await stored(other.client)]
        ids = [answer.id for answer in answers]
        assert await listed(edge.client) == await listed(other.client) == ids
        assert await other.client.chat.completions.retrieve(ids[0]) == answers[0]
        assert await edge.client.chat.completions.retrieve(ids[1]) == answers[1]


async def test_no_gateway_lists_what_was_said(tmp_path: Path) -> None:
    """The bucket that can be listed holds neither a question nor an answer."""
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker),
        sharer_at(broker, "scripted") as gateway,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        await stored(gateway.client, topic="brokers")
        (entry,) = (await Bucket(bus, ROW_BUCKET).within("default").entries()).values()

    assert b"brokers" in entry.value
    assert b"hello" not in entry.value
    assert b"0 1 2" not in entry.value


async def test_a_broker_without_rows_costs_the_sharing_alone(tmp_path: Path) -> None:
    """Where the bucket of rows is missing, a gateway remembers chats by itself."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        bus_of(broker, Role.GATEWAY) as bus,
        router_of(broker, "scripted") as (router, fleet),
    ):
        store = await chats_at(bus)
        assert isinstance(store.rows, MemoryRows)
        async with (
            gateway_of(router, fleet, chats=store) as address,
            client_at(address) as client,
        ):
            answer = await stored(client)
            assert await client.chat.completions.retrieve(answer.id) == answer


async def test_without_its_store_a_gateway_answers_all_the_same(tmp_path: Path) -> None:
    """An answer says that it was not stored; what is stored cannot be asked for."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        bus_of(broker, Role.GATEWAY) as bus,
        router_of(broker, "scripted") as (router, fleet),
    ):
        gone = ChatStore(said=Bucket(bus, RESPONSES), rows=Bucket(bus, ROW_BUCKET))
        async with (
            gateway_of(router, fleet, chats=gone) as address,
            client_at(address) as client,
        ):
            raw = await client.chat.completions.with_raw_response.create(
                model="scripted", messages=HELLO, store=True
            )
            assert raw.headers["x-mesh-not-stored"] == "store_unavailable"
            assert raw.parse().choices[0].message.content == TEXT
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.list()
            assert caught.value.status_code == 503
