"""A key's requests and tokens per minute, on real gateways in both accounts."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import openai
import pytest

from gateway.gossip import Gossip
from gateway.quotas import Quotas
from gateway.rates import Limits
from mesh.accounts import Role
from mesh.background import background
from mesh.fleet import Fleet
from mesh.keys import KeyStore
from tests.support.keys import MESSAGES, Door, door_of, key_store, known, outcome, raw
from tests.support.mesh import broker_in, bus_of, scripted_worker
from tests.support.wait import until
from workers.scripted import ScriptedSettings


@asynccontextmanager
async def edge_door(folder: Path, tps: float = 0.0) -> AsyncIterator[tuple[Door, KeyStore]]:
    async with (
        broker_in(folder) as broker,
        scripted_worker(broker, settings=ScriptedSettings(name="spark", tokens=5, tps=tps)),
        door_of(broker, "spark") as door,
        key_store(broker) as store,
    ):
        yield door, store


async def test_requests_per_minute(tmp_path: Path) -> None:
    """Every answer tells what is left, and the request too many when to come again."""
    async with edge_door(tmp_path) as (door, store):
        key, _ = await known(store, door, requests_per_minute=2)
        first = (await raw(door, key)).headers
        assert first["x-ratelimit-limit-requests"] == "2"
        assert first["x-ratelimit-remaining-requests"] == "1"
        assert first["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in first
        with pytest.raises(openai.BadRequestError) as wrong:
            await raw(door, key, temperature=9)
        assert wrong.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as refused:
            await raw(door, key)
        told = refused.value.response.headers
        assert refused.value.code == "rate_limit_exceeded"
        assert 1 <= int(told["retry-after"]) <= 30
        assert 1 <= int(told["retry-after-ms"]) <= 30_000
        assert told["x-ratelimit-remaining-requests"] == "0"
        other, _ = await known(store, door)
        assert "x-ratelimit-limit-requests" not in (await raw(door, other)).headers


def remaining(door: Door, key: str, unit: str) -> int:
    """Return how much of its minute a gateway leaves to a key."""
    caller = door.gatekeeper.identify(f"Bearer {key}")
    told = door.quotas.meter(caller.key, Limits.of(caller)).headers()
    return int(told[f"x-ratelimit-remaining-{unit}"])


@asynccontextmanager
async def doors_as(folder: Path, *roles: Role) -> AsyncIterator[tuple[KeyStore, list[Door]]]:
    """Run gateways in these roles before one worker."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        worker = scripted_worker(broker, settings=ScriptedSettings(name="spark", tokens=5))
        await stack.enter_async_context(worker)
        store = await stack.enter_async_context(key_store(broker))
        doors = [
            await stack.enter_async_context(door_of(broker, "spark", role=role)) for role in roles
        ]
        yield store, doors


async def test_requests_are_counted_over_all_gateways(tmp_path: Path) -> None:
    """What one gateway has let in, another one does not let in again."""
    async with doors_as(tmp_path, Role.GATEWAY, Role.GATEWAY) as (store, doors):
        key, _ = await known(store, *doors, requests_per_minute=2)
        for _ in range(2):
            await raw(doors[0], key)
        await until(lambda: remaining(doors[1], key, "requests") == 0)
        with pytest.raises(openai.RateLimitError) as refused:
            await raw(doors[1], key)
    assert refused.value.code == "rate_limit_exceeded"


async def test_tokens_are_counted_over_all_gateways(tmp_path: Path) -> None:
    """The others learn of what was used, after they were told of what was set aside."""
    async with doors_as(tmp_path, Role.GATEWAY, Role.GATEWAY) as (store, doors):
        key, _ = await known(store, *doors, tokens_per_minute=100)
        response = await raw(doors[0], key, max_tokens=90)
        used = response.parse().usage.total_tokens
        assert remaining(doors[0], key, "tokens") >= 100 - used
        await until(lambda: remaining(doors[1], key, "tokens") < 100)
        await until(lambda: not doors[0].quotas.untold.meters)
        await until(lambda: remaining(doors[1], key, "tokens") >= 100 - used)


BOTH_ORDERS = pytest.mark.parametrize(
    "roles", [(Role.GATEWAY, Role.EDGE_GATEWAY), (Role.EDGE_GATEWAY, Role.GATEWAY)]
)
"""An edge-only gateway and one that may use the cloud; the first is asked first."""


@BOTH_ORDERS
async def test_requests_are_counted_over_both_accounts(
    tmp_path: Path, roles: tuple[Role, ...]
) -> None:
    """A key that is used at a normal and an edge-only gateway gets its limit, not twice that."""
    async with doors_as(tmp_path, *roles) as (store, doors):
        key, _ = await known(store, *doors, requests_per_minute=2)
        await raw(doors[0], key)
        await until(lambda: remaining(doors[1], key, "requests") == 1)
        await raw(doors[1], key)
        await until(lambda: remaining(doors[0], key, "requests") == 0)
        outcomes = [await outcome(door, key) for door in doors]
    assert outcomes == ["rate_limit_exceeded", "rate_limit_exceeded"]


@BOTH_ORDERS
async def test_tokens_are_counted_over_both_accounts(
    tmp_path: Path, roles: tuple[Role, ...]
) -> None:
    """What was set aside at one is missing at the other, and comes back where it was not used."""
    async with doors_as(tmp_path, *roles) as (store, (first, second)):
        key, _ = await known(store, first, second, tokens_per_minute=20)
        used = (await raw(first, key, max_tokens=20)).parse().usage.total_tokens
        await until(lambda: remaining(second, key, "tokens") < 20)
        await until(lambda: not first.quotas.untold.meters)
        await until(lambda: remaining(second, key, "tokens") >= 20 - used)


async def test_what_cannot_be_told_is_told_later(tmp_path: Path) -> None:
    """A gateway that has lost the broker keeps counting, and tells when it is back."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        quotas = Quotas(Fleet())
        async with background(Gossip(bus, quotas).run):
            killed = broker.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda: not bus.connected)
            quotas.meter("key_1", Limits(requests=2)).begin()
            dropped = bus.dropped
            await until(lambda: bus.dropped > dropped)
            assert quotas.untold.meters
            await until(lambda: bus.connected)
            await until(lambda: not quotas.untold.meters)


async def test_tokens_per_minute(tmp_path: Path) -> None:
    """Tokens are set aside by a guess, counted by what was used, streams included."""
    async with edge_door(tmp_path, tps=20) as (door, store):
        key, _ = await known(store, door, tokens_per_minute=1000)
        client = await door.client(key)
        used = (await raw(door, key)).parse().usage.total_tokens
        async with client.chat.completions.with_streaming_response.create(
            model="spark", messages=MESSAGES, max_tokens=900, stream=True
        ) as stream:
            # The minute's tokens come back while the test runs, but never beyond the limit.
            assert int(stream.headers["x-ratelimit-remaining-tokens"]) <= 100
            with pytest.raises(openai.RateLimitError) as refused:
                await raw(door, key, max_tokens=500)
            assert refused.value.code == "rate_limit_exceeded"
            await stream.read()
        rest = int((await raw(door, key)).headers["x-ratelimit-remaining-tokens"])
        assert rest > 900 - 2 * used
