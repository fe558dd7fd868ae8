"""The unmodified OpenAI client's ``responses`` against the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.responses import Response, ResponseOutputMessage
from yarl import URL

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from tests.support.gateway import Mesh, running_mesh
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

TEXT = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
SLOW = ScriptedSettings(slots=1, ttft_ms=60_000)


@asynccontextmanager
async def client_of(mesh: Mesh, *, key: str = "anything") -> AsyncIterator[openai.AsyncOpenAI]:
    """Open the client that applications use."""
    client = openai.AsyncOpenAI(base_url=mesh.address.url, api_key=key, max_retries=0, timeout=20)
    async with client:
        yield client


def message_of(response: Response) -> ResponseOutputMessage:
    """Return the only message of an answer."""
    (message,) = response.output
    assert isinstance(message, ResponseOutputMessage)
    return message


def tokens_in(response: Response) -> int:
    """Return how many tokens the model was given."""
    assert response.usage is not None
    return response.usage.input_tokens


async def test_a_whole_response(tmp_path: Path) -> None:
    """A response has its text, its status and true token counts."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        response = await client.responses.create(
            model="scripted", input="hello there", metadata={"a": "b"}, temperature=0.5
        )

        assert response.output_text == TEXT
        assert message_of(response).status == response.status == "completed"
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (2, 16)
        assert response.usage.input_tokens_details.cached_tokens == 0
        assert response.usage.output_tokens_details.reasoning_tokens == 0
        assert (response.metadata, response.temperature) == ({"a": "b"}, 0.5)
        assert (response.object, response.error, response.incomplete_details) == (
            "response",
            None,
            None,
        )


async def test_a_shortened_response(tmp_path: Path) -> None:
    """A limit on the output makes a response incomplete and says so."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        response = await client.responses.create(
            model="scripted", input="hello", max_output_tokens=3
        )

    assert (response.status, message_of(response).status) == ("incomplete", "incomplete")
    assert response.output_text == "0 1 2 "
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_a_streamed_response(tmp_path: Path) -> None:
    """Events come in their order, numbered, with ids that never change, and can be retrieved."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        stream = await client.responses.create(model="scripted", input="hi", stream=True)
        events: list[Any] = [event async for event in stream]
        last = events[-1].response
        stored = await client.responses.retrieve(last.id)

    kinds = [event.type for event in events]
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type.endswith("text.delta"))
    assert text == last.output_text == TEXT
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {last.output[0].id}
    assert events[0].response.id == last.id
    assert stored == last


async def test_the_streaming_helper(tmp_path: Path) -> None:
    """The client's own accumulator follows the stream to its end."""
    async with (
        running_mesh(tmp_path) as mesh,
        client_of(mesh) as client,
        client.responses.stream(model="scripted", input="hi") as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    assert kinds[-1] == "response.completed"
    assert final.output_text == TEXT


async def test_a_conversation_goes_on(tmp_path: Path) -> None:
    """A later response is made of all the turns before it, and knows its own input only."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        first = await client.responses.create(
            model="scripted", input="one two", instructions="be brief"
        )
        second = await client.responses.create(
            model="scripted", input="three", previous_response_id=first.id
        )
        third = await client.responses.create(
            model="scripted", input="four", previous_response_id=second.id
        )
        items = await client.responses.input_items.list(third.id)

    # Two words, the answer of sixteen, one word: instructions are those of the turn.
    assert [tokens_in(response) for response in (first, second, third)] == [4, 19, 36]
    assert third.previous_response_id == second.id
    assert [item.content[0].text for item in items.data] == ["four"]  # type: ignore[union-attr, index]


async def test_a_prompt_is_counted(tmp_path: Path) -> None:
    """A count is what the response will say it was given, the conversation before it included."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        first = await client.responses.create(model="scripted", input="one two")
        turn: Any = {"model": "scripted", "input": "three", "previous_response_id": first.id}
        counted = await client.responses.input_tokens.count(**turn)
        second = await client.responses.create(**turn)
        with pytest.raises(openai.NotFoundError):
            await client.responses.input_tokens.count(model="nobody", input="three")

    assert counted.object == "response.input_tokens"
    assert second.usage is not None
    assert counted.input_tokens == second.usage.input_tokens > 1


async def test_a_deleted_response_is_gone(tmp_path: Path) -> None:
    """It can be neither retrieved nor continued nor deleted again."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        response = await client.responses.create(model="scripted", input="hi")
        await client.responses.delete(response.id)

        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(response.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(
                model="scripted", input="hi", previous_response_id=response.id
            )

    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


async def test_what_is_not_to_be_stored_is_not(tmp_path: Path) -> None:
    """With ``store`` false a response is answered and forgotten."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        response = await client.responses.create(model="scripted", input="hi", store=False)

        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)


async def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    """Another tenant's response does not exist, whatever is asked of it."""
    keys = (ApiKey.parse("acme=sk-acme"), ApiKey.parse("other=sk-other"))
    async with (
        running_mesh(tmp_path, settings=GatewaySettings(keys=keys, drain_timeout=2)) as mesh,
        client_of(mesh, key="sk-acme") as acme,
        client_of(mesh, key="sk-other") as other,
    ):
        response = await acme.responses.create(model="scripted", input="hi")
        for ask in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(response.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.input_items.list(response.id)
        with pytest.raises(openai.BadRequestError):
            await other.responses.create(
                model="scripted", input="hi", previous_response_id=response.id
            )
        assert (await acme.responses.retrieve(response.id)).output_text == TEXT


async def test_a_background_response(tmp_path: Path) -> None:
    """It is answered at once and can be retrieved when it is done."""
    script = ScriptedSettings(ttft_ms=50)
    async with running_mesh(tmp_path, script=script) as mesh, client_of(mesh) as client:
        begun = await client.responses.create(model="scripted", input="hi", background=True)

        async def is_done() -> bool:
            return (await client.responses.retrieve(begun.id)).status == "completed"

        await until_async(is_done)
        done = await client.responses.retrieve(begun.id)

    assert (begun.status, begun.output, begun.background) == ("in_progress", [], True)
    assert done.output_text == TEXT
    assert done.usage is not None


async def test_a_background_response_is_cancelled(tmp_path: Path) -> None:
    """Cancelling frees the slot at once, and the status stays."""
    async with running_mesh(tmp_path, script=SLOW) as mesh, client_of(mesh) as client:
        begun = await client.responses.create(model="scripted", input="hi", background=True)
        await until(lambda: mesh.agent.running == 1)

        cancelled = await client.responses.cancel(begun.id)
        await until(lambda: mesh.agent.running == 0, within=1)

        assert cancelled.status == "cancelled"
        assert (await client.responses.retrieve(begun.id)).status == "cancelled"
        assert (await client.responses.cancel(begun.id)).status == "cancelled"


async def test_only_background_responses_are_cancelled(tmp_path: Path) -> None:
    """What was answered already cannot be taken back."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        response = await client.responses.create(model="scripted", input="hi")
        with pytest.raises(openai.BadRequestError):
            await client.responses.cancel(response.id)


async def test_a_failed_background_response_says_so(tmp_path: Path) -> None:
    """What cannot be computed ends as failed, not for ever in progress."""
    async with running_mesh(tmp_path, script=SLOW) as mesh, client_of(mesh) as client:
        begun = await client.responses.create(
            model="scripted",
            input="hi",
            background=True,
            extra_headers={"x-mesh-deadline-ms": "200"},
        )

        async def has_failed() -> bool:
            return (await client.responses.retrieve(begun.id)).status == "failed"

        await until_async(has_failed)
        failed = await client.responses.retrieve(begun.id)

    assert failed.error is not None
    assert failed.error.code == "server_error"


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Return the events of a raw stream, pings left out."""
    found = []
    for event in stream.removesuffix(b"\n\n").split(b"\n\n"):
        if not event.startswith(b":"):
            head, data = event.split(b"\n")
            found.append(json.loads(data.removeprefix(b"data: ")))
            assert head == b"event: " + found[-1]["type"].encode()
    return found


async def test_a_slow_response_opens_its_stream(tmp_path: Path) -> None:
    """A client that waits longer than a ping interval sees that its response exists."""
    script = ScriptedSettings(ttft_ms=2500, tokens=2)
    settings = GatewaySettings(ping_interval=0.5, drain_timeout=2)
    body = {"model": "scripted", "input": "hi", "stream": True}
    async with (
        running_mesh(tmp_path, script=script, settings=settings) as mesh,
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.url}/v1/responses", json=body) as answer,
    ):
        raw = await answer.read()

    assert raw.index(b"response.in_progress") < raw.index(b": ping") < raw.index(b"item.added")
    events = events_of(raw)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "0 1 "


async def test_a_client_that_leaves_takes_its_response_along(tmp_path: Path) -> None:
    """Only background responses outlive their client."""
    body = {"model": "scripted", "input": "hi", "stream": True}
    settings = GatewaySettings(drain_timeout=0.1)
    async with (
        running_mesh(tmp_path, script=SLOW, settings=settings) as mesh,
        aiohttp.ClientSession() as session,
    ):
        for background in (False, True):
            asking = asyncio.create_task(
                session.post(
                    f"{mesh.url}/v1/responses",
                    json=body | {"background": background, "stream": not background},
                )
            )
            await until(lambda: mesh.agent.running == 1)
            asking.cancel()
            await asyncio.wait((asking,))
            if not background:
                await until(lambda: mesh.agent.running == 0, within=1)
        assert mesh.agent.running == 1


async def test_unknown_ids_are_not_found(tmp_path: Path) -> None:
    """Whatever stands where an id should be, the answer is a 404 in the form of the API."""
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        for path in (
            "resp_0",
            "resp_..%2Fx",
            "resp_%00",
            "resp_0/lease",
            "compact",
            "resp_" + "x" * 500,
        ):
            async with session.get(URL(f"{mesh.url}/v1/responses/{path}", encoded=True)) as answer:
                assert answer.status == 404, path
                error = (await answer.json())["error"]
                assert error.keys() == {"message", "type", "param", "code"}
