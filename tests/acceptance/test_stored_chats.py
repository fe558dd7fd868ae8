"""The unmodified OpenAI client's stored chat completions: kept, found, changed and forgotten."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.app import Address
from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from tests.support.chats import HELLO, TEXT, listed, stored
from tests.support.gateway import running_mesh
from tests.support.responses import client_at


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
