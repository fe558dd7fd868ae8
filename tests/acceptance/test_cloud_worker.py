"""A cloud worker on a real bus, in front of a real HTTP upstream."""

from pathlib import Path

import pytest

from mesh.errors import MeshError
from mesh.router import Router
from schemas.fleet import ModelState, Tier
from tests.support.faulty_upstream import Fault, faulty_upstream
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.upstream import engine_on, work
from tests.support.wait import until
from workers.breaker import BreakerSettings


async def test_an_upstream_answers_through_the_bus(tmp_path: Path) -> None:
    """A model that only the upstream has is answered by the cloud, and told as such."""
    async with (
        broker_in(tmp_path) as broker,
        faulty_upstream() as upstream,
        engine_on(upstream) as engine,
        agent_of(broker, engine, name="cloud", tier=Tier.CLOUD),
        router_of(broker, "spark") as (router, _),
        router.open(work().request) as answer,
    ):
        completion = await answer.completion()

    assert completion.text == "0 1 2 3 4 "
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "no_model")
    assert completion.usage.prompt_tokens == 11


async def test_a_failing_upstream_is_advertised_as_such(tmp_path: Path) -> None:
    """The open breaker shows in the fleet, spares the upstream, and closes by itself."""
    breaker = BreakerSettings(max_streak=1, pause_first=0.5)
    async with (
        broker_in(tmp_path) as broker,
        faulty_upstream() as upstream,
        engine_on(upstream, breaker=breaker) as engine,
        agent_of(broker, engine, name="cloud", tier=Tier.CLOUD),
        router_of(broker, "spark") as (router, fleet),
    ):
        upstream.fault = Fault.SERVER_ERROR
        with pytest.raises(MeshError):
            await router_answer(router)
        await until(lambda: fleet.models()[0].state is ModelState.FAILED)
        upstream.fault = Fault.NONE
        await until(lambda: fleet.models()[0].state is ModelState.READY)

        assert await router_answer(router) == "0 1 2 3 4 "

    assert upstream.calls == 2


async def router_answer(router: Router) -> str:
    async with router.open(work().request) as answer:
        return (await answer.completion()).text
