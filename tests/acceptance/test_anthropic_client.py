"""The unmodified Anthropic client against the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from tests.support.anthropic_engine import Assistant
from tests.support.gateway import Mesh, gateway_of, running_mesh
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.wait import until

HELLO: Any = [{"role": "user", "content": "hello there"}]
PICTURE: Any = {
    "role": "user",
    "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    ],
}
NUMBERS = "".join(f"{number} " for number in range(16))
WEATHER: Any = {
    "name": "weather",
    "description": "Tells the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def client_at(url: str, *, key: str = "any") -> Any:
    """Return the client that applications use."""
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=20)


@asynccontextmanager
async def client_of(mesh: Mesh, *, key: str = "any") -> AsyncIterator[Any]:
    async with client_at(mesh.url, key=key) as client:
        yield client


@asynccontextmanager
async def assistant_in(folder: Path) -> AsyncIterator[Any]:
    """Open a client of a gateway before a worker that thinks and calls tools."""
    async with (
        broker_in(folder) as broker,
        agent_of(broker, Assistant()),
        router_of(broker, "scripted") as (router, fleet),
        gateway_of(router, fleet) as address,
        client_at(f"http://{address.host}:{address.port}") as client,
    ):
        yield client


async def test_a_whole_message(tmp_path: Path) -> None:
    """A message has its text, its end and true counts."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        answer = await client.messages.create(
            model="scripted",
            max_tokens=100,
            system="be kind",
            messages=HELLO,
            stop_sequences=["15"],
            metadata={"user_id": "u"},
        )

    assert answer.content[0].text == NUMBERS.removesuffix("15 ")
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "15")
    assert answer.usage.input_tokens == 4


async def test_a_streamed_message(tmp_path: Path) -> None:
    """The SDK's own accumulation gives the text and the message."""
    async with (
        running_mesh(tmp_path) as mesh,
        client_of(mesh) as client,
        client.messages.stream(model="scripted", max_tokens=5, messages=HELLO) as stream,
    ):
        texts = [text async for text in stream.text_stream]
        whole = await stream.get_final_message()

    assert "".join(texts) == whole.content[0].text == "0 1 2 3 4 "
    assert whole.stop_reason == "max_tokens"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (2, 5)


async def test_raw_events(tmp_path: Path) -> None:
    """With ``stream=True`` every event has its class."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        events = await client.messages.create(
            model="scripted", max_tokens=1, messages=HELLO, stream=True
        )
        kinds = [event.type async for event in events]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_round_trip_with_a_tool(tmp_path: Path, streamed: bool) -> None:
    """The model's call comes back as it is, with the result, and the model answers."""
    settings: dict[str, Any] = {
        "model": "scripted",
        "max_tokens": 2048,
        "tools": [WEATHER],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    async with assistant_in(tmp_path) as client:
        if streamed:
            async with client.messages.stream(messages=HELLO, **settings) as stream:
                first = await stream.get_final_message()
        else:
            first = await client.messages.create(messages=HELLO, **settings)
        thought, text, call = first.content
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        second = await client.messages.create(
            messages=[
                *HELLO,
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [result]},
            ],
            **settings,
        )

    assert first.stop_reason == "tool_use"
    assert (thought.type, thought.thinking) == ("thinking", "let me see")
    assert (text.type, text.text) == ("text", "I look it up.")
    assert (call.type, call.name, call.input) == ("tool_use", "weather", {"city": "Ulm"})
    assert first.usage.cache_read_input_tokens == 4
    assert [block.type for block in second.content] == ["thinking", "text"]
    assert second.content[1].text == "It is sunny."


async def test_tokens_are_counted(tmp_path: Path) -> None:
    """The worker's own count, tools and system prompt included."""
    async with assistant_in(tmp_path) as client:
        told = await client.messages.count_tokens(
            model="scripted", messages=HELLO, system="be kind", tools=[WEATHER]
        )
    assert told.input_tokens == 4


async def test_errors_have_the_classes_of_the_sdk(tmp_path: Path) -> None:
    """Applications catch the client's own exceptions, with the request's id."""
    settings = GatewaySettings(keys=(ApiKey.parse("sk-good"),))
    async with running_mesh(tmp_path, settings=settings) as mesh:
        await until(lambda: mesh.fleet.settled)
        async with client_of(mesh, key="sk-bad") as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(model="scripted", max_tokens=1, messages=HELLO)
        async with client_of(mesh, key="sk-good") as client:
            with pytest.raises(anthropic.NotFoundError) as missing:
                await client.messages.create(model="nope", max_tokens=1, messages=HELLO)
            with pytest.raises(anthropic.BadRequestError) as bad:
                await client.messages.create(
                    model="scripted", max_tokens=1, messages=HELLO, extra_body={"temperature": 2}
                )
            with pytest.raises(anthropic.BadRequestError) as picture:
                await client.messages.create(model="scripted", max_tokens=1, messages=[PICTURE])

    assert missing.value.request_id
    assert "temperature" in str(bad.value)
    assert "messages[0].content[0]" in str(picture.value)
