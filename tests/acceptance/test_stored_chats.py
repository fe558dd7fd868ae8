"""The unmodified OpenAI client's stored chat completions: kept, found, changed and forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from gateway.app import Address
from gateway.auth import ApiKey
from gateway.chats.store import ROW_BUCKET, ChatStore, MemoryRows, chats_at
from gateway.responses.store import RESPONSES
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from tests.support.gateway import gateway_of, running_mesh
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.responses import Sharer, broker_with_buckets, client_at, sharer_at
from tests.support.wait import until_async

TEXT = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
HELLO: Any = [{"role": "user", "content": "hello there"}]
"""One message."""


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


async def stored(
    client: openai.AsyncOpenAI, messages: Any = HELLO, **metadata: str
) -> ChatCompletion:
    """Have a chat completion made and stored."""
    return await client.chat.completions.create(
        model="scripted", messages=messages, store=True, metadata=metadata
    )


async def listed(client: openai.AsyncOpenAI, **query: Any) -> list[str]:
    """Return the ids of all pages of a list."""
    return [found.id async for found in client.chat.completions.list(**query)]


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


async def test_a_stream_is_stored_before_its_end(tmp_path: Path) -> None:
    """A streamed answer is found whole under the id of its chunks once the stream has ended."""
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        stream = await client.chat.completions.create(
            model="scripted",
            messages=HELLO,
            stream=True,
            store=True,
            metadata={"a": "b"},
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        found = await client.chat.completions.retrieve(chunks[0].id)

    assert {(chunk.id, chunk.created) for chunk in chunks} == {(found.id, found.created)}
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert found.choices[0].message.content == text == TEXT
    assert found.metadata == {"a": "b"}
    assert found.usage == chunks[-1].usage


async def test_an_answer_is_only_stored_if_asked_for(tmp_path: Path) -> None:
    """Without ``store`` nothing is kept, whatever the metadata say."""
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        for store in (None, False):
            answer = await client.chat.completions.create(
                model="scripted", messages=HELLO, store=store, metadata={"a": "b"}
            )
            assert "metadata" not in answer.to_dict()
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.retrieve(answer.id)
            assert (caught.value.code, caught.value.param) == ("chat_completion_not_found", "id")
        assert await listed(client) == []


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


async def test_a_list_is_paged_and_filtered(tmp_path: Path) -> None:
    """The oldest come first; pages follow each other; a model and metadata leave some out."""
    settings = GatewaySettings(drain_timeout=2)
    async with (
        running_mesh(tmp_path, settings=settings) as mesh,
        client_at(mesh.address) as client,
    ):
        made = [(await stored(client, parity=str(n % 2), n=str(n))).id for n in range(5)]

        assert await listed(client) == made
        assert await listed(client, limit=2) == made
        assert await listed(client, limit=2, order="desc") == made[::-1]
        assert await listed(client, after=made[2]) == made[3:]
        assert await listed(client, metadata={"parity": "1"}) == made[1::2]
        assert await listed(client, metadata={"parity": "1", "n": "3"}) == [made[3]]
        assert await listed(client, model="scripted") == made
        assert await listed(client, model="another") == []


async def test_the_messages_of_an_answer_are_listed(tmp_path: Path) -> None:
    """They come as they were sent, with ids of their own, a page at a time."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    ]
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        answer = await stored(client, messages)
        pages = client.chat.completions.messages.list(answer.id, limit=3)
        found = [message.to_dict() async for message in pages]
        last = await client.chat.completions.messages.list(answer.id, order="desc", limit=1)

    assert [message["id"] for message in found] == [f"{answer.id}-{n}" for n in range(4)]
    assert [message["role"] for message in found] == ["system", "user", "assistant", "tool"]
    assert [message["content"] for message in found] == ["Be brief.", "ab", None, "42"]
    assert (found[0]["name"], found[0]["content_parts"]) == ("boss", None)
    assert [part["text"] for part in found[1]["content_parts"]] == ["a", "b"]  # type: ignore[attr-defined]
    assert found[2]["tool_calls"] == [call]
    assert found[3]["tool_call_id"] == "call_1"
    assert (last.data[0].id, last.has_more) == (found[3]["id"], True)


async def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    """An answer of another tenant does not exist, whatever is asked of it."""
    settings = GatewaySettings(
        keys=(ApiKey.parse("one=k1"), ApiKey.parse("two=k2")), drain_timeout=2
    )
    async with (
        running_mesh(tmp_path, settings=settings) as mesh,
        client_at(mesh.address, key="k1") as owner,
        client_at(mesh.address, key="k2") as other,
        client_at(mesh.address, key="k3") as nobody,
    ):
        answer = await stored(owner)
        for ask in (
            other.chat.completions.retrieve(answer.id),
            other.chat.completions.update(answer.id, metadata={"mine": "now"}),
            other.chat.completions.delete(answer.id),
            other.chat.completions.messages.list(answer.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask
        assert await listed(other) == []
        with pytest.raises(openai.AuthenticationError):
            await listed(nobody)
        assert await listed(owner) == [answer.id]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"metadata": "text"}, "metadata"),
        ({"store": "yes"}, "store"),
    ],
)
async def test_what_cannot_be_stored_is_named(
    tmp_path: Path, fields: dict[str, Any], param: str
) -> None:
    """A field that is wrong is refused by its name, in the request and in a change alike."""
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model="scripted", messages=HELLO, **({"store": True} | fields)
            )
        assert (caught.value.param or "").partition(".")[0].partition("[")[0] == param
        if param == "metadata":
            answer = await stored(client)
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.update(answer.id, metadata=fields["metadata"])
            assert (caught.value.param or "").startswith("metadata")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "chatcmpl-unknown"}, "after"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
    ],
)
async def test_a_wrong_list_is_refused_by_name(
    tmp_path: Path, query: dict[str, Any], param: str
) -> None:
    """A parameter that means nothing is named."""
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.list(**query)
    assert caught.value.param == param


async def test_a_conversation_that_is_too_large_is_refused_before_it_is_computed(
    tmp_path: Path,
) -> None:
    """Who asks for the store is told at once that it has no room for such messages."""
    settings = GatewaySettings(max_response=2000, drain_timeout=2)
    async with (
        running_mesh(tmp_path, settings=settings) as mesh,
        client_at(mesh.address) as client,
    ):
        large = [{"role": "user", "content": "word " * 500}]
        with pytest.raises(openai.APIStatusError) as caught:
            await stored(client, large)
        assert caught.value.status_code == 413
        assert (caught.value.code, caught.value.param) == ("response_too_large", "store")
        answer = await client.chat.completions.create(model="scripted", messages=large)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_too_large_is_given_and_not_stored(
    tmp_path: Path, stream: bool
) -> None:
    """It comes whole, and says why it was not stored."""
    settings = GatewaySettings(max_response=300, drain_timeout=2)
    async with (
        running_mesh(tmp_path, settings=settings) as mesh,
        client_at(mesh.address) as client,
    ):
        raw = await client.chat.completions.with_raw_response.create(
            model="scripted", messages=HELLO, store=True, stream=stream
        )
        body = (await raw.http_response.aread()).decode()
        assert "15 " in body
        if stream:
            assert "\n\n: not stored: too_large\n\n" in body
            assert body.endswith("data: [DONE]\n\n")
        else:
            assert raw.headers["x-mesh-not-stored"] == "too_large"
        assert await listed(client) == []


async def test_a_page_ends_where_it_would_become_too_large(tmp_path: Path) -> None:
    """A list of large answers has more pages, and misses none of them."""
    settings = GatewaySettings(max_body=4000, drain_timeout=2)
    async with (
        running_mesh(tmp_path, settings=settings) as mesh,
        client_at(mesh.address) as client,
    ):
        long = [{"role": "user", "content": "word " * 300}]
        made = [(await stored(client, long)).id for _ in range(5)]
        first = await client.chat.completions.list(limit=5)

        assert len(first.data) < 5
        assert first.has_more is True
        assert await listed(client, limit=5) == made


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


async def test_the_same_request_id_makes_two_answers(tmp_path: Path) -> None:
    """Ids of stored answers are not the caller's, so that none takes the place of another."""
    async with running_mesh(tmp_path) as mesh, client_at(mesh.address) as client:
        made = [
            await client.chat.completions.create(
                model="scripted", messages=HELLO, store=True, extra_headers={"x-request-id": "same"}
            )
            for _ in range(2)
        ]
        assert await listed(client) == [answer.id for answer in made]
    assert made[0].id != made[1].id


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


async def test_the_client_that_waits_finds_what_was_stored(tmp_path: Path) -> None:
    """The synchronous client walks through pages, and deletes what it finds."""

    def walk(address: Address) -> tuple[list[str], list[str]]:
        with openai.OpenAI(base_url=address.url, api_key="any", max_retries=0) as client:
            chats = client.chat.completions
            made = [chats.create(model="scripted", messages=HELLO, store=True) for _ in range(3)]
            found = [chat.id for chat in chats.list(limit=2)]
            for chat in chats.list():
                chats.delete(chat.id)
            assert [chat.id for chat in chats.list()] == []
            return [chat.id for chat in made], found

    async with running_mesh(tmp_path) as mesh:
        made, found = await asyncio.to_thread(walk, mesh.address)
    assert found == made
