"""The gateway put together: routes, and the server that runs them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
from aiohttp import web
from anyio.abc import TaskStatus

from gateway import embeddings, rerank
from gateway.auth import Gatekeeper
from gateway.chat import ChatEndpoint
from gateway.health import HealthEndpoint
from gateway.listener import Listener
from gateway.metrics import Metrics
from gateway.models import ModelsEndpoint
from gateway.quotas import Quotas, show_limits
from gateway.reception import House
from gateway.record import Journal
from gateway.settings import GatewaySettings
from mesh.background import background
from mesh.fleet import Fleet
from mesh.router import Router

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
    gatekeeper: Gatekeeper | None = None,
    quotas: Quotas | None = None,
) -> web.Application:
    """Return the application; it is run by ``serve``, which owns limits and error pages.

    ``gatekeeper``: one that follows the keys of the mesh; default: one for the settings' keys.
    ``quotas``: those keys' limits.
    """
    gatekeeper = gatekeeper or Gatekeeper(settings.keys, open=settings.is_open)
    metrics = Metrics(fleet)
    house = House(
        router=router,
        fleet=fleet,
        gatekeeper=gatekeeper,
        quotas=quotas or Quotas(fleet),
        journal=Journal(metrics),
        settings=settings,
    )
    chat = ChatEndpoint(house)
    models = ModelsEndpoint(fleet=fleet, gatekeeper=gatekeeper, settings=settings)
    health = HealthEndpoint(fleet)
    app = web.Application()
    app.on_response_prepare.append(show_limits)
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat.post),
            web.post("/v1/embeddings", embeddings.endpoint(house).post),
            web.post("/v1/rerank", rerank.endpoint(house).post),
            web.get("/v1/models", models.list),
            web.get("/v1/models/{id:.+}", models.get),
            web.get("/healthz", health.live),
            web.get("/readyz", health.ready),
            web.get("/metrics", metrics.get),
        ]
    )
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
    listener = Listener(runner.server, settings)
    try:
        socket = await _bind(listener, settings)
        try:
            async with background(listener.sweep):
                yield _address(socket)
        finally:
            socket.close()
    finally:
        with anyio.CancelScope(shield=True):
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
    return await loop.create_server(listener, settings.host, settings.port, backlog=BACKLOG)


def _address(server: asyncio.Server) -> Address:
    host, port, *_ = server.sockets[0].getsockname()
    return Address(host, port)
