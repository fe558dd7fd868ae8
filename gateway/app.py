"""The gateway put together: routes, and the server that runs them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
from aiohttp import web
from anyio.abc import TaskStatus

from gateway import embeddings, rerank
from gateway.access import AccessLog
from gateway.auth import Gatekeeper
from gateway.batches.routes import BEHIND, add_batches
from gateway.bus_requests import BUS_REQUESTS, BusRequests
from gateway.chats.routes import add_chats
from gateway.chats.store import ChatStore
from gateway.completions.endpoint import CompletionsEndpoint
from gateway.dashboard.endpoint import Dashboard
from gateway.dashboard.snapshot import Photographer
from gateway.description import DescriptionEndpoint
from gateway.docs import DocsEndpoint
from gateway.health import HealthEndpoint
from gateway.listener import Listener
from gateway.messages.endpoint import MessagesEndpoint, counter
from gateway.metrics import Metrics
from gateway.models import ModelsEndpoint
from gateway.quotas import Quotas, show_limits
from gateway.reception import House
from gateway.record import Journal
from gateway.responses.routes import RUNNER, add_responses
from gateway.responses.store import ResponseStore
from gateway.settings import GatewaySettings
from gateway.shedding import Shedder
from gateway.tally import Tally
from mesh.background import background
from mesh.bus import Bus
from mesh.fleet import Fleet
from mesh.router import Router
from mesh.tracing import Tracer, Unrecorded

SHEDDER = web.AppKey("shedder", Shedder)
LOG = web.AppKey[AccessLog | None]("log")
BACKLOG = 1024
"""Connections the kernel holds until they are accepted."""


class Address(NamedTuple):
    """Where the gateway listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL that OpenAI clients are given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


def build_app(
    router: Router,
    fleet: Fleet,
    settings: GatewaySettings,
    *,
    gatekeeper: Gatekeeper | None = None,
    quotas: Quotas | None = None,
    responses: ResponseStore | None = None,
    chats: ChatStore | None = None,
    bus: Bus | None = None,
    tracer: Tracer | None = None,
) -> web.Application:
    """Return the application; it is run by ``serve``, which owns limits and error pages.

    ``gatekeeper``: one that follows the keys of the mesh; default: one for the settings' keys.
    ``quotas``: those keys' limits. ``responses``, ``chats``: where these are kept; default: the
    memory of this process. ``bus``: to the broker that keeps files and batches; default: there are
    none.
    ``tracer``: default: one that records nothing.
    """
    gatekeeper = gatekeeper or Gatekeeper(settings.keys, open=settings.is_open)
    metrics = Metrics(fleet, router, settings.prices)
    tally = Tally(settings.prices)
    journal = Journal(metrics, tally)
    house = House(
        router=router,
        fleet=fleet,
        gatekeeper=gatekeeper,
        quotas=quotas or Quotas(fleet),
        journal=journal,
        settings=settings,
        tracer=tracer or Unrecorded(),
    )
    models = ModelsEndpoint(fleet=fleet, gatekeeper=gatekeeper, settings=settings)
    health = HealthEndpoint(fleet)
    log = AccessLog() if settings.access_log else None
    app = web.Application()
    docs = DocsEndpoint()
    description = DescriptionEndpoint(default_model=settings.aliases.default)
    app.on_response_prepare.append(show_limits)
    app[BUS_REQUESTS] = BusRequests(journal, house.tracer, log)
    app[SHEDDER] = Shedder(settings.limiter, metrics.registry)
    app[LOG] = log
    app.add_routes(
        [
            web.post("/v1/completions", CompletionsEndpoint(house).post),
            web.post("/v1/embeddings", embeddings.endpoint(house).post),
            web.post("/v1/messages", MessagesEndpoint(house).post),
            web.post("/v1/messages/count_tokens", counter(house).post),
            web.post("/v1/rerank", rerank.endpoint(house).post),
            web.get("/v1/models", models.list),
            web.get("/v1/models/{id:.+}", models.get),
            web.get("/openapi.json", description.get),
            web.get("/docs", docs.page),
            web.get("/docs/{name}", docs.part),
            web.get("/healthz", health.live),
            web.get("/readyz", health.ready),
            web.get("/metrics", metrics.get),
        ]
    )
    add_chats(app, house, chats)
    add_responses(app, house, responses)
    add_batches(app, house, bus)
    if settings.dashboard:
        photographer = Photographer(fleet, router, tally)
        Dashboard(photographer, house).add_to(app)
    return app


@asynccontextmanager
async def serving(app: web.Application, settings: GatewaySettings) -> AsyncIterator[Address]:
    """Serve inside the context; then stop accepting and let what runs finish in bounded time.

    Raises ``OSError`` if the address cannot be bound.
    """
    # aiohttp waits for handlers twice, once before and once after it asks them to stop.
    runner = web.AppRunner(
        app, handler_cancellation=True, shutdown_timeout=settings.drain_timeout / 2
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("a runner that is set up has a server")
    shedder = app[SHEDDER]
    listener = Listener(runner.server, settings, shedder, app[LOG])
    async with background(app[RUNNER].run, *app[BEHIND]):
        try:
            server = await _bind(listener, settings)
            try:
                async with background(listener.sweep, shedder.run):
                    yield _address(server)
            finally:
                server.close()
        finally:
            with anyio.CancelScope(shield=True):
                await _drain(app, runner)


async def _drain(app: web.Application, runner: web.AppRunner) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app[RUNNER].drain)
        await runner.cleanup()


async def serve(
    app: web.Application,
    settings: GatewaySettings,
    *,
    task_status: TaskStatus[Address] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled (see ``serving``); reports the address once it is bound."""
    async with serving(app, settings) as address:
        task_status.started(address)
        await anyio.sleep_forever()


async def _bind(listener: Listener, settings: GatewaySettings) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if settings.descriptor is None:
        return await loop.create_server(listener, settings.host, settings.port, backlog=BACKLOG)
    inherited = socket.socket(fileno=settings.descriptor)
    return await loop.create_server(listener, sock=inherited, backlog=BACKLOG)


def _address(server: asyncio.Server) -> Address:
    host, port, *_ = server.sockets[0].getsockname()
    return Address(host, port)
