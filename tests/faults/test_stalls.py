"""Machines that stand still for a while, and two workers that go by one name."""

import time
from asyncio import ensure_future, sleep
from pathlib import Path

from tests.support.mesh import agent_of, broker_in, router_of, scripted_worker
from tests.support.requests import chat, complete, numbers, stream_text
from tests.support.wait import until
from workers.leases import LEASE_LASTS
from workers.scripted import ScriptedEngine, ScriptedSettings


def stand_still(seconds: float) -> None:
    """Stop this whole process, as a suspended laptop or an overloaded machine does."""
    time.sleep(seconds)


async def test_a_worker_that_stood_still_keeps_its_attempts(tmp_path: Path) -> None:
    """Leases that could not be heard meanwhile are not missed."""
    script = ScriptedSettings(slots=1, ttft_ms=1000 * LEASE_LASTS + 800)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script) as worker,
        router_of(broker, "scripted") as (router, _),
    ):
        answer = ensure_future(complete(router, chat()))
        await until(lambda: worker.running == 1)
        stand_still(LEASE_LASTS + 0.3)
        assert (await answer).text == numbers(16)


async def test_a_short_standstill_makes_no_worker_suspect(tmp_path: Path) -> None:
    """Answers that lie in the socket while this process is busy do not count as missing."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(ttft_ms=100)),
        router_of(broker, "scripted") as (router, fleet),
        router.open(chat()) as answer,
    ):
        first = ensure_future(anext(aiter(answer)))
        while not router.running:
            await sleep(0)
        stand_still(0.6)
        while not first.done():
            assert not any(node.suspect for node in fleet.nodes())
            await sleep(0)


async def test_namesakes_do_not_answer_together(tmp_path: Path) -> None:
    """A dispatch is computed once, by the worker that is meant, whoever else has its name.

    The other one's next advert would take it for lost, and begin anew; it comes later than that.
    """
    quick, slow = (ScriptedEngine(ScriptedSettings(tps=tps, tokens=50)) for tps in (200, 190))
    most = 0
    async with (
        broker_in(tmp_path) as broker,
        agent_of(broker, quick, name="twin", advert_interval=60.0) as one,
        agent_of(broker, slow, name="twin", advert_interval=60.0) as other,
        router_of(broker, "scripted") as (router, _),
    ):
        answer = ensure_future(stream_text(router, chat(stream=True)))
        while not answer.done():
            most = max(most, one.running + other.running)
            await sleep(0.005)
    assert answer.result() == numbers(50)
    assert most == 1
