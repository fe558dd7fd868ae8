"""How the models of one worker share its memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskStatus

from mesh.background import background
from tests.support.fleets import FakeClock
from tests.support.wait import until
from workers.memory import Claim, Memory, Stay, Withdrawn


@asynccontextmanager
async def model(memory: Memory, name: str, nbytes: int = 10) -> AsyncIterator[Claim]:
    """Run a model that loads in no time when it is wanted, and leaves when it is told to."""
    claim = memory.claim(name)

    async def live() -> None:
        left = anyio.Event()
        claim.on_evict = left.set
        await claim.wanted()
        async with claim.hold(nbytes):
            claim.settle(60.0)
            await left.wait()

    async def run(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        while True:
            try:
                await live()
            except Withdrawn:
                continue

    async with background(run):
        yield claim


def is_in(claim: Claim) -> bool:
    return claim.stay is Stay.IN


async def test_models_that_fit_live_side_by_side() -> None:
    """Room is given at once while there is some."""
    memory = Memory(20)
    async with model(memory, "a") as a, model(memory, "b") as b:
        a.insist()
        b.insist()
        await until(lambda: is_in(a) and is_in(b))
        assert memory.free == 0


async def test_the_one_not_used_for_longest_makes_room() -> None:
    """A third model takes the place of the one whose last use is furthest back."""
    clock = FakeClock()
    memory = Memory(20, min_residency=0, clock=clock)
    async with model(memory, "a") as a, model(memory, "b") as b, model(memory, "c") as c:
        for claim in (a, b, a):
            clock.now += 1
            with claim.use():
                await until(lambda claim=claim: is_in(claim))  # type: ignore[misc]
        c.insist()
        await until(lambda: is_in(c))
        assert (a.stay, b.stay) == (Stay.IN, Stay.OUT)


async def test_a_model_in_use_finishes_first() -> None:
    """It takes nothing new, and goes when its last user has left."""
    memory = Memory(10, min_residency=0)
    async with model(memory, "a") as a, model(memory, "b") as b:
        with a.use():
            await until(lambda: is_in(a))
            b.insist()
            await until(lambda: a.is_recalled)
            assert (a.stay, b.stay) == (Stay.IN, Stay.WAITING)
        await until(lambda: is_in(b))
        assert a.stay is Stay.OUT


async def test_a_model_stays_for_its_time() -> None:
    """One that was just loaded is left alone, even idle, until its time is over."""
    clock = FakeClock()
    memory = Memory(10, min_residency=30, clock=clock)
    async with model(memory, "a") as a, model(memory, "b") as b:
        a.insist()
        await until(lambda: is_in(a))
        b.insist()
        await until(lambda: b.stay is Stay.WAITING)
        clock.now += 29
        memory.review()
        assert (a.stay, a.is_recalled) == (Stay.IN, False)
        clock.now += 1
        memory.review()
        await until(lambda: is_in(b))


async def test_nobody_has_to_come_by_for_the_time_to_be_over() -> None:
    """The end of a stay is noticed by itself."""
    memory = Memory(10, min_residency=0.05)
    async with model(memory, "a") as a, model(memory, "b") as b:
        a.insist()
        await until(lambda: is_in(a))
        b.insist()
        await until(lambda: is_in(b))


async def test_those_who_wait_are_served_in_their_order() -> None:
    """A small model does not slip past a large one, which would never find room."""
    memory = Memory(20, min_residency=0)
    async with model(memory, "a") as a, model(memory, "b", 20) as b, model(memory, "c") as c:
        with a.use():
            await until(lambda: is_in(a))
            b.insist()
            await until(lambda: b.stay is Stay.WAITING)
            c.insist()
            await until(lambda: c.stay is Stay.WAITING)
        with b.use():
            await until(lambda: is_in(b))
            assert c.stay is Stay.WAITING
        await until(lambda: is_in(c))


async def test_nobody_leaves_for_a_model_that_is_not_wanted_any_more() -> None:
    """When the last who waited has gone, the model in use takes new work again."""
    memory = Memory(10, min_residency=0)
    async with model(memory, "a") as a, model(memory, "b") as b:
        with a.use():
            await until(lambda: is_in(a))
            with b.use():
                await until(lambda: a.is_recalled)
            assert not a.is_recalled
        await until(lambda: b.stay is Stay.OUT)
        assert is_in(a)


async def test_a_dismissed_model_goes_when_it_is_idle() -> None:
    """Its time is over early, but not for those who use it."""
    memory = Memory(10, min_residency=1e6)
    async with model(memory, "a") as a:
        with a.use():
            await until(lambda: is_in(a))
            a.dismiss()
            assert (a.stay, a.is_recalled) == (Stay.IN, True)
        await until(lambda: a.stay is Stay.OUT)


async def test_leaving_counts_until_it_is_done() -> None:
    """Memory is given on when the model has gone, not when it is told to go."""
    memory = Memory(10, min_residency=0)
    a, b = memory.claim("a"), memory.claim("b")
    a.insist()
    b.insist()
    async with a.hold(10):
        a.settle(1.0)
        b.nbytes = 10
        memory.enter(b)
        assert (a.stay, b.stay, memory.free) == (Stay.LEAVING, Stay.WAITING, 0)
    assert is_in(b)


async def test_without_a_budget_everything_fits() -> None:
    """One model alone may take what the machine has."""
    memory = Memory()
    async with model(memory, "a", 1 << 60) as a, model(memory, "b", 1 << 60) as b:
        a.insist()
        b.insist()
        await until(lambda: is_in(a) and is_in(b))


async def test_a_wish_withdrawn_in_time_costs_nothing() -> None:
    """One that is dismissed while it waits for room is told so."""
    memory = Memory(10, min_residency=0)
    a, b = memory.claim("a"), memory.claim("b")
    a.insist()
    b.insist()
    async with a.hold(10), anyio.create_task_group() as tasks:
        tasks.start_soon(_dismiss, b)
        with pytest.raises(Withdrawn):
            async with b.hold(10):
                pass
        assert is_in(a)


async def _dismiss(claim: Claim) -> None:
    await until(lambda: claim.stay is Stay.WAITING)
    claim.dismiss()
