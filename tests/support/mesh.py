"""Runs the real parts inside a test: broker process, bus connections, agents, routers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker, BrokerSettings, running_broker
from mesh.bus import Bus, BusSettings, connect
from mesh.fleet import ADVERT_INTERVAL, Fleet
from mesh.router import Router, RouterSettings
from mesh.tracing import Tracer
from schemas.fleet import Tier
from tests.support.wait import until
from workers.agent import Agent
from workers.engine import Engine
from workers.scripted import ScriptedEngine, ScriptedSettings
from workers.settings import AgentSettings

PING_EVERY = BusSettings.ping_interval
"""Seconds; two pings without an answer end a connection, also one to a server that stands still."""


@asynccontextmanager
async def broker_in(folder: Path) -> AsyncIterator[Broker]:
    """Run a broker of its own on a free port, with its state in ``folder``."""
    async with running_broker(BrokerSettings(state=folder, port=0)) as broker:
        yield broker


@asynccontextmanager
async def bus_of(broker: Broker, role: Role) -> AsyncIterator[Bus]:
    """Connect in a role."""
    settings = BusSettings(
        url=broker.url, creds=broker.creds(role), role=role, ping_interval=PING_EVERY
    )
    async with connect(settings) as bus:
        yield bus


@asynccontextmanager
async def agent_of(
    broker: Broker,
    *engines: Engine,
    name: str = "w1",
    tier: Tier = Tier.EDGE,
    advert_interval: float = ADVERT_INTERVAL,
) -> AsyncIterator[Agent]:
    """Run an agent with its own connection."""
    role = Role.EDGE_WORKER if tier is Tier.EDGE else Role.CLOUD_WORKER
    async with bus_of(broker, role) as bus:
        agent = Agent(
            bus, engines, AgentSettings(name=name, tier=tier, advert_interval=advert_interval)
        )
        async with background(agent.run):
            yield agent


@asynccontextmanager
async def scripted_worker(
    broker: Broker,
    name: str = "w1",
    tier: Tier = Tier.EDGE,
    settings: ScriptedSettings | None = None,
) -> AsyncIterator[Agent]:
    """Run an agent with one scripted engine."""
    async with agent_of(broker, ScriptedEngine(settings), name=name, tier=tier) as agent:
        yield agent


@asynccontextmanager
async def router_of(
    broker: Broker,
    *models: str,
    role: Role = Role.GATEWAY,
    settings: RouterSettings | None = None,
    workers: int = 1,
    tracer: Tracer | None = None,
) -> AsyncIterator[tuple[Router, Fleet]]:
    """Run a router, once it has heard of ``models`` on as many ``workers``."""
    async with bus_of(broker, role) as bus:
        fleet = Fleet()
        router = Router(bus, fleet, settings, tracer=tracer)
        async with background(router.run):
            await until(lambda: all(fleet.has(model) for model in models))
            await until(lambda: not models or len(fleet.nodes()) >= workers)
            yield router, fleet
