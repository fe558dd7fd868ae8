"""The accounts of API keys on a real broker, used by two gateways at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.pricing import NANO
from gateway.spending import Spending
from mesh import subjects
from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.errors import BudgetExhausted
from mesh.fleet import Fleet
from mesh.keys import SPENDING
from mesh.router import Router
from mesh.service import InferService
from mesh.storage import Store
from schemas.keys import Spent
from schemas.wire import decoder
from tests.support.keys import key_store
from tests.support.mesh import broker_in, bus_of
from tests.support.natsclient import signed_in
from tests.support.wait import until_async

CENT = NANO // 100
NOON = 1_800_014_400.0
TOMORROW = NOON + 86_400


class Wall:
    """A wall clock to be set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def accounts(broker: Broker, role: Role, wall: Wall) -> AsyncIterator[Spending]:
    async with bus_of(broker, role) as bus:
        spending = Spending(bus, wall)
        async with background(spending.run):
            yield spending


async def balances(broker: Broker) -> dict[str, int]:
    async with bus_of(broker, Role.ADMIN) as bus:
        entries = await Bucket(bus, SPENDING).entries()
    return {name: decoder(Spent).decode(entry.value).nano_usd for name, entry in entries.items()}


async def is_granted(spending: Spending, amount: int, usd: float) -> bool:
    try:
        await spending.reserve("key_1", amount, usd)
    except BudgetExhausted:
        return False
    return True


async def test_two_gateways_never_grant_more_than_there_is(tmp_path: Path) -> None:
    """Of 200 reservations at once from both accounts exactly as many fit as the budget holds."""
    wall = Wall()
    async with (
        broker_in(tmp_path) as broker,
        key_store(broker),
        accounts(broker, Role.GATEWAY, wall) as one,
        accounts(broker, Role.EDGE_GATEWAY, wall) as other,
    ):
        granted = await asyncio.gather(
            *(is_granted((one, other)[n % 2], 3 * CENT, 1.0) for n in range(200))
        )
        assert sum(granted) == 33
        assert list((await balances(broker)).values()) == [99 * CENT]


async def test_what_was_not_spent_is_there_for_the_others(tmp_path: Path) -> None:
    """A gateway that remembers a full account looks again before it refuses."""
    wall = Wall()
    async with (
        broker_in(tmp_path) as broker,
        key_store(broker),
        accounts(broker, Role.GATEWAY, wall) as one,
        accounts(broker, Role.GATEWAY, wall) as other,
    ):
        reservation = await one.reserve("key_1", 100 * CENT, 1.0)
        assert not await is_granted(other, CENT, 1.0)
        one.settle(reservation, 40 * CENT)

        async def is_free() -> bool:
            return await is_granted(other, 60 * CENT, 1.0)

        await until_async(is_free)
        assert not await is_granted(one, 1, 1.0)


async def test_a_new_day_begins_with_nothing_spent(tmp_path: Path) -> None:
    """At midnight UTC the budget is whole again; until then the error says how long it takes."""
    wall = Wall()
    async with (
        broker_in(tmp_path) as broker,
        key_store(broker),
        accounts(broker, Role.GATEWAY, wall) as spending,
    ):
        yesterdays = await spending.reserve("key_1", 100 * CENT, 1.0)
        with pytest.raises(BudgetExhausted) as refused:
            await spending.reserve("key_1", 1, 1.0)
        assert refused.value.retry_after == 86_400 - NOON % 86_400
        wall.now = TOMORROW
        await spending.reserve("key_1", 100 * CENT, 1.0)
        spending.settle(yesterdays, 10 * CENT)

        async def are_apart() -> bool:
            return sorted((await balances(broker)).values()) == [10 * CENT, 100 * CENT]

        await until_async(are_apart)


async def test_who_gives_up_has_reserved_nothing(tmp_path: Path) -> None:
    """Reservations of callers that are cancelled meanwhile come back, whenever that happens."""
    wall = Wall()
    async with (
        broker_in(tmp_path) as broker,
        key_store(broker),
        accounts(broker, Role.GATEWAY, wall) as spending,
    ):
        callers = [asyncio.create_task(spending.reserve("key_1", CENT, 1.0)) for _ in range(50)]
        await callers[0]
        for caller in callers[1:]:
            caller.cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
        kept = sum(not isinstance(result, BaseException) for result in results)

        async def is_settled() -> bool:
            return list((await balances(broker)).values()) == [kept * CENT]

        await until_async(is_settled)


async def test_a_gateway_that_stops_settles_first(tmp_path: Path) -> None:
    """What was given back in the last moment is still written."""
    wall = Wall()
    async with broker_in(tmp_path) as broker, key_store(broker):
        async with accounts(broker, Role.GATEWAY, wall) as spending:
            spending.settle(await spending.reserve("key_1", 50 * CENT, 1.0), CENT)
        assert list((await balances(broker)).values()) == [CENT]


@pytest.mark.parametrize("role", [Role.CLIENT, Role.EDGE_CLIENT])
async def test_no_client_writes_an_account(tmp_path: Path, role: Role) -> None:
    """A client that has the gateway answer to the subject of an account changes nothing there."""
    gateway = Role.GATEWAY if role is Role.CLIENT else Role.EDGE_GATEWAY
    async with (
        broker_in(tmp_path) as broker,
        key_store(broker),
        accounts(broker, gateway, Wall()) as spending,
        bus_of(broker, gateway) as bus,
        signed_in(broker, role) as client,
    ):
        await spending.reserve("key_1", CENT, 1.0)
        before = await balances(broker)
        (account,) = before
        service = InferService(bus, Router(bus, Fleet()), lambda policy: policy)
        async with background(service.run):
            await bus.flush()
            target = subjects.bucket_entry(Store.SPENDING, account)
            await client.publish(subjects.INFER, b"{}", reply=target)
            assert b"failed" in (await client.request(subjects.INFER, b"{}", timeout=5)).data
        assert await balances(broker) == before


async def test_without_a_bucket_nothing_is_granted(tmp_path: Path) -> None:
    """Where no account can be kept there is no budget, and the caller learns it at once."""
    async with (
        broker_in(tmp_path) as broker,
        accounts(broker, Role.GATEWAY, Wall()) as spending,
    ):
        assert not await is_granted(spending, CENT, 1.0)
