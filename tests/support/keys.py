"""Gateways that follow the keys of a real broker, and keys to try them with."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import openai

from gateway.app import build_app, serving
from gateway.auth import Gatekeeper
from gateway.gossip import Gossip
from gateway.keyring import Keyring
from gateway.limiter import LimiterSettings
from gateway.problems import Unauthorized
from gateway.quotas import Quotas
from gateway.settings import GatewaySettings
from gateway.spending import Spending
from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.fleet import Fleet
from mesh.keys import KeyStore, digest, new_id, new_key
from mesh.router import Router
from schemas.keys import KeyRecord
from tests.support.mesh import bus_of
from tests.support.wait import until

MESSAGES: Any = [{"role": "user", "content": "count"}]


@dataclass(frozen=True)
class Door:
    """A gateway of its own, as clients and tests see it."""

    url: str
    gatekeeper: Gatekeeper
    quotas: Quotas
    fleet: Fleet
    opened: AsyncExitStack
    clients: dict[str, openai.AsyncOpenAI] = field(default_factory=dict)

    async def client(self, key: str = "none") -> openai.AsyncOpenAI:
        """Return the key's client, which does not try again by itself; closed with the gateway."""
        if key not in self.clients:
            client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)
            self.clients[key] = client
            await self.opened.enter_async_context(client)
        return self.clients[key]

    def knows(self, key: str) -> bool:
        """Tell whether a key is let in, and for what it is."""
        try:
            return bool(self.gatekeeper.identify(f"Bearer {key}").key)
        except Unauthorized:
            return False


ROOMY = GatewaySettings(drain_timeout=1, limiter=LimiterSettings(floor=1000))
"""A gateway that sheds nothing: whole meshes share one event loop here, and delay it."""


@asynccontextmanager
async def door_of(
    broker: Broker,
    *models: str,
    role: Role = Role.GATEWAY,
    settings: GatewaySettings | None = None,
) -> AsyncIterator[Door]:
    """Run a gateway with its own connection, once it has heard of ``models``."""
    settings = replace(settings or ROOMY, port=0)
    gatekeeper = Gatekeeper(settings.keys, open=settings.is_open)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(bus_of(broker, role))
        fleet = Fleet()
        router = Router(bus, fleet)
        spending = Spending(bus)
        quotas = Quotas(fleet, spending)
        runs = (
            Keyring(bus, gatekeeper).run,
            spending.run,
            Gossip(bus, quotas).run,
            router.run,
        )
        await stack.enter_async_context(background(*runs))
        await until(lambda: all(fleet.has(model) for model in models))
        app = build_app(router, fleet, settings, gatekeeper=gatekeeper, quotas=quotas)
        address = await stack.enter_async_context(serving(app, settings))
        opened = await stack.enter_async_context(AsyncExitStack())
        yield Door(f"http://{address.host}:{address.port}", gatekeeper, quotas, fleet, opened)


@asynccontextmanager
async def key_store(broker: Broker) -> AsyncIterator[KeyStore]:
    """Connect as the admin, with room for keys."""
    async with bus_of(broker, Role.ADMIN) as bus:
        store = KeyStore(bus)
        await store.ensure()
        yield store


async def made(store: KeyStore, **fields: Any) -> tuple[str, str]:
    """Store a key and return it with its id."""
    key, key_id = new_key(), new_id()
    await store.add(KeyRecord(id=key_id, digest=digest(key), **fields))
    return key, key_id


async def known(store: KeyStore, *doors: Door, **limits: Any) -> tuple[str, str]:
    """Return a key and its id, once the gateways know it."""
    key, key_id = await made(store, **limits)
    await until(lambda: all(door.knows(key) for door in doors))
    return key, key_id


async def raw(door: Door, key: str, **fields: Any) -> Any:
    """Ask and return the HTTP answer; raises what the client raises."""
    client = await door.client(key)
    body = {"model": "spark", "messages": MESSAGES, "max_tokens": 5} | fields
    return await client.chat.completions.with_raw_response.create(**body)


async def outcome(door: Door, key: str, **fields: Any) -> str:
    """Return which tier answered, or the code of the error."""
    try:
        response = await raw(door, key, **fields)
    except openai.APIStatusError as error:
        return str(error.code)
    return str(response.headers["x-mesh-tier"])
