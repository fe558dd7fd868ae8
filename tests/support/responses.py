"""Gateways that share responses at a real broker, and the client that applications use."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai

from cli.buckets import make_buckets
from gateway.app import Address
from gateway.chats.store import ROW_BUCKET, chats_at
from gateway.responses import archive
from gateway.responses.kept import Kept
from gateway.responses.lease import Lease
from gateway.responses.store import RESPONSES, ResponseStore, store_at
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.inference import Policy
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions
from schemas.wire import encode
from tests.support.gateway import gateway_of
from tests.support.mesh import broker_in, bus_of, router_of


@asynccontextmanager
async def client_at(
    address: Address, *, key: str = "any", retries: int = 0
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open the client that applications use; it does not try again by itself, unless it may."""
    client = openai.AsyncOpenAI(base_url=address.url, api_key=key, max_retries=retries, timeout=20)
    async with client:
        yield client


@dataclass(frozen=True)
class Sharer:
    """A gateway whose responses are at the broker."""

    client: openai.AsyncOpenAI
    store: ResponseStore
    router: Router
    fleet: Fleet


@asynccontextmanager
async def broker_with_buckets(folder: Path) -> AsyncIterator[Broker]:
    """Run a broker that has room for responses, as `mesh up` and `mesh broker` do."""
    async with broker_in(folder) as broker:
        await make_buckets(broker)
        yield broker


@asynccontextmanager
async def sharer_at(
    broker: Broker,
    *models: str,
    role: Role = Role.GATEWAY,
    settings: GatewaySettings | None = None,
) -> AsyncIterator[Sharer]:
    """Run a gateway with its own connection, once it has heard of ``models``."""
    async with AsyncExitStack() as stack:
        router, fleet = await stack.enter_async_context(router_of(broker, *models, role=role))
        bus = await stack.enter_async_context(bus_of(broker, role))
        store = await store_at(bus)
        assert isinstance(store, Bucket), f"{RESPONSES.name} is there"
        chats = await chats_at(bus)
        assert isinstance(chats.rows, Bucket), f"{ROW_BUCKET.name} is there"
        served = gateway_of(router, fleet, settings, store, chats)
        address = await stack.enter_async_context(served)
        client = await stack.enter_async_context(client_at(address))
        yield Sharer(client, store, router, fleet)


async def abandon(gateway: Sharer, *, streamed: bool = False) -> Response:
    """Store what a gateway leaves that is killed: a running response, and a lease nobody renews."""
    response = Response(
        id="resp_" + "0" * 32,
        created_at=0,
        background=True,
        metadata={},
        model="scripted",
        reasoning=ReasoningOptions(),
        text=TextConfig(),
    )
    where = archive.key("default", response.id)
    await Lease(gateway.store, where).take()
    kept = Kept(policy=Policy.EDGE_FIRST, response=response, input=(), streamed=streamed)
    await gateway.store.create(where, encode(kept))
    return response
