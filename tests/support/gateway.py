"""Runs a gateway with a mesh behind it, and speaks raw HTTP to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.app import Address, build_app, serving
from gateway.chats.store import ChatStore
from gateway.responses.store import ResponseStore
from gateway.settings import GatewaySettings
from mesh.bus import Bus
from mesh.fleet import Fleet
from mesh.router import Router, RouterSettings
from mesh.tracing import Tracer
from tests.support.mesh import broker_in, router_of, scripted_worker
from workers.agent import Agent
from workers.scripted import ScriptedSettings


@asynccontextmanager
async def gateway_of(
    router: Router,
    fleet: Fleet,
    settings: GatewaySettings | None = None,
    responses: ResponseStore | None = None,
    chats: ChatStore | None = None,
    tracer: Tracer | None = None,
    bus: Bus | None = None,
) -> AsyncIterator[Address]:
    """Serve a gateway on a free port; ``responses``, ``chats``, ``bus``: where it keeps things."""
    settings = replace(settings or GatewaySettings(drain_timeout=2), port=0)
    app = build_app(
        router, fleet, settings, responses=responses, chats=chats, tracer=tracer, bus=bus
    )
    async with serving(app, settings) as address:
        yield address


@dataclass(frozen=True)
class Mesh:
    """One worker, one gateway, and what a test wants to look at."""

    address: Address
    agent: Agent
    router: Router
    fleet: Fleet

    @property
    def url(self) -> str:
        """The root of the gateway."""
        return f"http://{self.address.host}:{self.address.port}"


@asynccontextmanager
async def running_mesh(
    folder: Path,
    *,
    script: ScriptedSettings | None = None,
    settings: GatewaySettings | None = None,
    router: RouterSettings | None = None,
) -> AsyncIterator[Mesh]:
    """Run broker, one scripted worker and a gateway."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        agent = await stack.enter_async_context(scripted_worker(broker, settings=script))
        model = (script or ScriptedSettings()).name
        routing = router_of(broker, model, settings=router)
        its_router, fleet = await stack.enter_async_context(routing)
        address = await stack.enter_async_context(gateway_of(its_router, fleet, settings))
        yield Mesh(address, agent, its_router, fleet)


async def send_raw(address: Address, request: bytes, *, within: float = 10.0) -> bytes:
    """Send bytes on a connection of their own and return all that comes back until it closes."""
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
