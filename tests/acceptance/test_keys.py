"""API keys from the bucket, on real gateways: let in, held to their models, revoked."""

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import openai
import pytest

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.errors import PermissionDenied
from mesh.keys import KeyStore
from schemas.inference import Policy
from tests.support.keys import Door, door_of, key_store, made
from tests.support.mesh import broker_in, scripted_worker
from tests.support.wait import until
from workers.scripted import ScriptedSettings

WITHIN = 1.0
"""Seconds in which every gateway knows of a change."""


async def ask(door: Door, key: str, model: str = "scripted") -> str:
    answer = await (await door.client(key)).chat.completions.create(
        model=model, messages=[{"role": "user", "content": "count"}], max_tokens=2
    )
    return answer.choices[0].message.content or ""


@asynccontextmanager
async def two_doors(folder: Path) -> AsyncIterator[tuple[Broker, KeyStore, list[Door]]]:
    """Run a worker and a gateway in each of the two accounts."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        await stack.enter_async_context(scripted_worker(broker))
        doors = [
            await stack.enter_async_context(door_of(broker, "scripted", role=role))
            for role in (Role.GATEWAY, Role.EDGE_GATEWAY)
        ]
        store = await stack.enter_async_context(key_store(broker))
        yield broker, store, doors


async def test_every_gateway_follows_within_a_second(tmp_path: Path) -> None:
    """A key works on all gateways a second after it was made, and nowhere one after its end."""
    async with two_doors(tmp_path) as (_, store, doors):
        for door in doors:
            assert await ask(door, "none") == "0 1 "
        key, key_id = await made(store)
        began = time.monotonic()
        await until(lambda: all(door.knows(key) for door in doors))
        assert time.monotonic() - began < WITHIN
        for door in doors:
            assert await ask(door, key) == "0 1 "
            with pytest.raises(openai.AuthenticationError):
                await ask(door, "none")
        await store.revoke(key_id)
        began = time.monotonic()
        await until(lambda: not any(door.knows(key) for door in doors))
        assert time.monotonic() - began < WITHIN
        for door in doors:
            with pytest.raises(openai.AuthenticationError) as refused:
                await ask(door, key)
            assert refused.value.code == "invalid_api_key"


async def test_known_keys_outlive_the_broker(tmp_path: Path) -> None:
    """While the broker is away the last known keys stay in force, and no others."""
    async with two_doors(tmp_path) as (broker, store, doors):
        key, _ = await made(store)
        await until(lambda: all(door.knows(key) for door in doors))
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            for door in doors:
                assert (await (await door.client(key)).models.list()).object == "list"
                with pytest.raises(openai.AuthenticationError):
                    await (await door.client("other")).models.list()
        finally:
            os.kill(broker.pid, signal.SIGCONT)


async def test_a_gateway_that_starts_later_knows_the_keys(tmp_path: Path) -> None:
    """Keys survive a SIGKILL of the broker, and are in force before a new gateway serves."""
    async with broker_in(tmp_path) as broker:
        async with key_store(broker) as store:
            key, _ = await made(store, tenant="acme")
        killed = broker.pid
        os.kill(killed, signal.SIGKILL)
        await until(lambda: broker.pid != killed)
        async with door_of(broker) as door:
            assert door.gatekeeper.identify(f"Bearer {key}").tenant == "acme"
            with pytest.raises(openai.AuthenticationError):
                await (await door.client("none")).models.list()


async def test_a_broker_that_never_tells_its_keys_is_an_error(tmp_path: Path) -> None:
    """Credentials that may not read keys end the start, instead of letting everybody in."""
    async with broker_in(tmp_path) as broker:
        with pytest.raises(PermissionDenied, match="print it anew"):
            async with door_of(broker, role=Role.CLIENT):
                pass


async def test_a_key_of_the_file_works_beside(tmp_path: Path) -> None:
    """Keys given at the start of a gateway are in force with and without stored ones."""
    settings = GatewaySettings(keys=(ApiKey.parse("acme=sk-file"),), drain_timeout=1)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        door_of(broker, "scripted", settings=settings) as door,
        key_store(broker) as store,
    ):
        assert await ask(door, "sk-file") == "0 1 "
        key, _ = await made(store)
        await until(lambda: door.knows(key))
        assert await ask(door, "sk-file") == await ask(door, key) == "0 1 "


async def test_other_models_do_not_exist_for_a_key(tmp_path: Path) -> None:
    """A model that a key may not use is not listed, and not found."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        scripted_worker(broker, name="w2", settings=ScriptedSettings(name="secret")),
        door_of(broker, "scripted", "secret") as door,
        key_store(broker) as store,
    ):
        key, _ = await made(store, models=("scripted",))
        everything, _ = await made(store)
        await until(lambda: door.knows(everything))
        client = await door.client(key)
        assert [model.id async for model in client.models.list()] == ["scripted"]
        wide = await door.client(everything)
        assert {model.id async for model in wide.models.list()} == {"scripted", "secret"}
        assert await ask(door, key) == await ask(door, everything, "secret") == "0 1 "
        with pytest.raises(openai.NotFoundError) as unseen:
            await ask(door, key, "secret")
        assert (unseen.value.code, unseen.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("secret")


async def test_a_key_caps_the_policy(tmp_path: Path) -> None:
    """A key for the edge alone cannot ask for the cloud."""
    async with (
        broker_in(tmp_path) as broker,
        door_of(broker) as door,
        key_store(broker) as store,
    ):
        key, _ = await made(store, policy=Policy.EDGE_ONLY)
        await until(lambda: door.knows(key))
        client = await door.client(key)
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "count"}],
                extra_headers={"x-mesh-policy": "cloud-only"},
            )
