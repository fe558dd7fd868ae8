"""Liveness and readiness."""

from pathlib import Path

import aiohttp

from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, router_of, scripted_worker
from tests.support.wait import until


async def test_a_gateway_is_ready_while_a_worker_is_live(tmp_path: Path) -> None:
    """The process is healthy from its start; it is ready once, and while, somebody can answer."""
    async with (
        broker_in(tmp_path) as broker,
        router_of(broker) as (router, fleet),
        gateway_of(router, fleet) as address,
        aiohttp.ClientSession(f"http://{address.host}:{address.port}") as session,
    ):

        async def status(path: str) -> int:
            async with session.get(path) as answer:
                assert (await answer.json())["status"]
                return answer.status

        assert (await status("/healthz"), await status("/readyz")) == (200, 503)
        async with scripted_worker(broker) as agent:
            await until(lambda: fleet.has("scripted"))
            assert (await status("/healthz"), await status("/readyz")) == (200, 200)
            await agent.drain()
            await until(lambda: not fleet.has("scripted"))
        assert (await status("/healthz"), await status("/readyz")) == (200, 503)
