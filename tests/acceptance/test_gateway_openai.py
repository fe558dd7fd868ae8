"""The unmodified OpenAI client against the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from gateway.aliases import Aliases
from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from mesh.placement import Limits
from mesh.router import RouterSettings
from schemas.inference import Policy
from tests.support.gateway import Mesh, running_mesh
from tests.support.wait import until
from workers.scripted import ScriptedSettings

TEXT = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
HELLO: Any = [{"role": "user", "content": "hello there"}]


@asynccontextmanager
async def client_of(
    mesh: Mesh, *, key: str = "anything", retries: int = 0
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open the client that applications use."""
    client = openai.AsyncOpenAI(
        base_url=mesh.address.url, api_key=key, max_retries=retries, timeout=20
    )
    async with client:
        yield client


async def test_a_whole_answer(tmp_path: Path) -> None:
    """A completion has its text, its reason to finish and true token counts."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        answer = await client.chat.completions.create(model="scripted", messages=HELLO)

        assert answer.choices[0].message.content == TEXT
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 16)


async def test_a_streamed_answer(tmp_path: Path) -> None:
    """A stream has the role first, every token in order, and its reason to finish last."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        stream = await client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]

    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_with_usage(tmp_path: Path) -> None:
    """Usage comes in a last chunk of its own when asked for."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        stream = await client.chat.completions.create(
            model="scripted",
            messages=HELLO,
            max_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    *earlier, last = chunks
    assert all(chunk.usage is None for chunk in earlier)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 5
    assert earlier[-1].choices[0].finish_reason == "length"


async def test_headers_tell_the_route(tmp_path: Path) -> None:
    """Answers name their tier, their worker and the request, streamed or whole."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        for stream in (False, True):
            raw = await client.chat.completions.with_raw_response.create(
                model="scripted",
                messages=HELLO,
                stream=stream,
                extra_headers={"x-request-id": "my-own-id"},
            )

            assert raw.headers["x-mesh-tier"] == "edge"
            assert raw.headers["x-mesh-worker"] == "w1"
            assert raw.headers["x-request-id"] == "my-own-id"
            assert "x-mesh-fallback" not in raw.headers
            if stream:
                assert raw.headers["cache-control"] == "no-cache"
                assert raw.headers["x-accel-buffering"] == "no"


async def test_everything_the_sdk_can_send_is_understood(tmp_path: Path) -> None:
    """Fields that mean nothing here do no harm."""
    everything: dict[str, Any] = {
        "frequency_penalty": -2,
        "logit_bias": {"foo": 0},
        "max_completion_tokens": 4,
        "metadata": {"foo": "string"},
        "modalities": ["text"],
        "n": 1,
        "presence_penalty": -2,
        "reasoning_effort": "none",
        "response_format": {"type": "text"},
        "safety_identifier": "x",
        "seed": -9007199254740991,
        "service_tier": "auto",
        "stop": "\n",
        "store": True,
        "temperature": 1,
        "top_p": 1,
        "user": "user-1234",
        "verbosity": "low",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "none",
        "parallel_tool_calls": True,
    }
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        answer = await client.chat.completions.create(
            model="scripted", messages=HELLO, **everything
        )

        assert answer.choices[0].message.content == "0 1 2 3 "


async def test_models(tmp_path: Path) -> None:
    """Models and aliases are listed and can be asked for by name, slashes included."""
    settings = GatewaySettings(aliases=Aliases.parse(["openai/gpt-4o=scripted", "gone=nothing"]))
    async with running_mesh(tmp_path, settings=settings) as mesh, client_of(mesh) as client:
        models = await client.models.list()
        alias = await client.models.retrieve("openai/gpt-4o")

        assert [model.id for model in models.data] == ["scripted", "openai/gpt-4o"]
        assert (alias.id, alias.object, alias.owned_by) == ("openai/gpt-4o", "model", "edge")
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("gone")
        assert caught.value.code == "model_not_found"


async def test_an_application_keeps_its_model_names(tmp_path: Path) -> None:
    """The catch-all answers for every name that no model has."""
    settings = GatewaySettings(aliases=Aliases.parse(["*=scripted"]))
    async with running_mesh(tmp_path, settings=settings) as mesh, client_of(mesh) as client:
        answer = await client.chat.completions.create(model="gpt-7-mega", messages=HELLO)

        assert answer.choices[0].message.content == TEXT
        assert answer.model == "scripted"


async def test_errors_have_the_classes_of_the_sdk(tmp_path: Path) -> None:
    """Applications catch the client's own exceptions, with code and field."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        await until(lambda: mesh.fleet.settled)
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="nope", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="scripted", messages=HELLO, temperature=9)
        with pytest.raises(openai.BadRequestError) as unsupported:
            await client.chat.completions.create(model="scripted", messages=HELLO, logprobs=True)
        with pytest.raises(openai.BadRequestError) as long:
            await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "word " * 9000}]
            )

    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert (bad.value.code, bad.value.param) == ("invalid_request", "temperature")
    assert (unsupported.value.code, unsupported.value.param) == ("unsupported", "logprobs")
    assert long.value.code == "context_length_exceeded"
    assert missing.value.request_id


async def test_keys(tmp_path: Path) -> None:
    """With keys configured only their holders get in; an edge-only key stays there."""
    settings = GatewaySettings(keys=(ApiKey.parse("acme=sk-good@edge-only"),))
    async with running_mesh(tmp_path, settings=settings) as mesh:
        async with client_of(mesh, key="sk-bad") as stranger:
            with pytest.raises(openai.AuthenticationError) as caught:
                await stranger.chat.completions.create(model="scripted", messages=HELLO)
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()
        assert caught.value.code == "invalid_api_key"
        async with client_of(mesh, key="sk-good") as client:
            answer = await client.chat.completions.create(model="scripted", messages=HELLO)
            assert answer.choices[0].message.content == TEXT
            with pytest.raises(openai.PermissionDeniedError) as forbidden:
                await client.chat.completions.create(
                    model="scripted",
                    messages=HELLO,
                    extra_headers={"x-mesh-policy": Policy.CLOUD_ONLY},
                )
        assert forbidden.value.code == "policy_forbidden"


async def test_a_full_queue_is_a_rate_limit(tmp_path: Path) -> None:
    """When slots and line are full, the SDK is told when to come back."""
    script = ScriptedSettings(slots=1, ttft_ms=60_000)
    router = RouterSettings(limits=Limits(queue_limit=1))
    async with (
        running_mesh(tmp_path, script=script, router=router) as mesh,
        client_of(mesh) as client,
        anyio.create_task_group() as tasks,
    ):
        ask = partial(client.chat.completions.create, model="scripted", messages=HELLO)
        tasks.start_soon(ask)
        await until(lambda: mesh.agent.running == 1)
        tasks.start_soon(ask)
        await until(lambda: mesh.router.waiting("scripted") == 1)

        with pytest.raises(openai.RateLimitError) as caught:
            await ask()
        tasks.cancel_scope.cancel()

    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert "x-should-retry" not in caught.value.response.headers


async def test_a_deadline_is_kept(tmp_path: Path) -> None:
    """A request that outlives its deadline gets 504, and is not retried by the SDK."""
    script = ScriptedSettings(ttft_ms=60_000)
    async with running_mesh(tmp_path, script=script) as mesh, client_of(mesh, retries=2) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(
                model="scripted", messages=HELLO, extra_headers={"x-mesh-deadline-ms": "300"}
            )
        await until(lambda: mesh.agent.running == 0)

    assert caught.value.status_code == 504
    assert caught.value.code == "deadline_exceeded"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_the_sdks_timeout_is_the_deadline(tmp_path: Path) -> None:
    """Nothing is computed for a client that has stopped waiting."""
    script = ScriptedSettings(ttft_ms=60_000)
    async with running_mesh(tmp_path, script=script) as mesh, client_of(mesh) as client:
        with pytest.raises((openai.APITimeoutError, openai.APIStatusError)):
            await client.with_options(timeout=0.3).chat.completions.create(
                model="scripted", messages=HELLO
            )
        await until(lambda: mesh.agent.running == 0, within=1)
