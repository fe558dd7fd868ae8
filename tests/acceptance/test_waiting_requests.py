"""Requests in line on a real broker: nobody is held up by one who waits for something else."""

import asyncio
from pathlib import Path

import pytest

from mesh import errors
from schemas.fleet import Tier
from schemas.inference import Policy
from tests.support.mesh import broker_in, router_of, scripted_worker
from tests.support.requests import chat, complete
from tests.support.wait import until
from workers.scripted import ScriptedSettings

ONE = ScriptedSettings(slots=1, tps=50, tokens=10)
ENDLESS = ScriptedSettings(slots=1, tps=20, tokens=10_000)


async def test_waiting_for_the_cloud_does_not_hold_up_the_edge(tmp_path: Path) -> None:
    """A free edge slot goes to the first who can use it, past one who wants the cloud."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ONE),
        scripted_worker(broker, "cloud1", Tier.CLOUD, ENDLESS),
        router_of(broker, "scripted", workers=2) as (router, _),
        router.open(chat(stream=True, policy=Policy.CLOUD_ONLY)) as held,
    ):
        await anext(aiter(held))
        running = asyncio.ensure_future(complete(router, chat()))
        await until(lambda: router.running == 2)
        urgent = chat(policy=Policy.CLOUD_ONLY, deadline_ms=5_000)
        ahead = asyncio.ensure_future(complete(router, urgent))
        await until(lambda: router.waiting("scripted") == 1)
        behind = asyncio.ensure_future(complete(router, chat(policy=Policy.EDGE_ONLY)))
        await until(lambda: router.waiting("scripted") == 2)
        await running
        # At once, not when it next looks for itself.
        await until(lambda: router.waiting("scripted") == 1, within=0.1)
        assert (await behind).tier is Tier.EDGE
        ahead.cancel()


async def test_a_refused_request_passes_its_slot_on(tmp_path: Path) -> None:
    """A request that the worker declines gives way at once, not with the next advert."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(slots=1, tokens=2)),
        router_of(broker, "scripted") as (router, _),
    ):
        for _ in range(3):  # One in time might owe it to an advert.
            late = asyncio.ensure_future(complete(router, chat(deadline_ms=0)))
            next_one = asyncio.ensure_future(complete(router, chat()))
            async with asyncio.timeout(0.3):
                await next_one
            with pytest.raises(errors.DeadlineExceeded):
                await late
