"""Everything that a batch needs inside a test, and the client that applications use."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch

from cli.buckets import stores
from gateway.app import Address, build_app, serving
from gateway.auth import Gatekeeper
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.subjects import JobSide
from tests.support.jobs import SMALL, job_broker, runner_of
from tests.support.mesh import bus_of, router_of, scripted_worker
from tests.support.responses import client_at
from tests.support.wait import until_async
from workers.scripted import ScriptedSettings

CHAT = "/v1/chat/completions"
MODEL = ScriptedSettings().name


@asynccontextmanager
async def batch_broker(folder: Path, files_mb: int = 64) -> AsyncIterator[Broker]:
    """Run a broker that stores jobs, files and batches, as ``mesh up`` does."""
    async with job_broker(folder, SMALL) as broker:
        async with bus_of(broker, Role.ADMIN) as admin:
            for store, _ in stores(admin, files_mb):
                await store.ensure()
        yield broker


@asynccontextmanager
async def batch_gateway(
    broker: Broker,
    *models: str,
    settings: GatewaySettings | None = None,
    gatekeeper: Gatekeeper | None = None,
    role: Role = Role.GATEWAY,
) -> AsyncIterator[Address]:
    """Run a gateway with its own connections, once it has heard of ``models``."""
    settings = replace(settings or GatewaySettings(), port=0, drain_timeout=2)
    async with (
        router_of(broker, *models, role=role) as (router, fleet),
        bus_of(broker, role) as bus,
        serving(
            build_app(router, fleet, settings, bus=bus, gatekeeper=gatekeeper), settings
        ) as address,
    ):
        yield address


@dataclass(frozen=True)
class BatchMesh:
    """A mesh with a gateway, and a client of it."""

    broker: Broker
    address: Address
    client: openai.AsyncOpenAI

    @property
    def url(self) -> str:
        """The root of the gateway."""
        return f"http://{self.address.host}:{self.address.port}"


@asynccontextmanager
async def batch_mesh(
    folder: Path,
    *,
    script: ScriptedSettings | None = None,
    settings: GatewaySettings | None = None,
    gatekeeper: Gatekeeper | None = None,
    key: str = "any",
    runner: bool = True,
) -> AsyncIterator[BatchMesh]:
    """Run broker, scripted worker, runner and gateway."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(folder))
        await stack.enter_async_context(scripted_worker(broker, settings=script))
        if runner:
            await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, MODEL))
        gateway = batch_gateway(broker, MODEL, settings=settings, gatekeeper=gatekeeper)
        address = await stack.enter_async_context(gateway)
        client = await stack.enter_async_context(client_at(address, key=key))
        yield BatchMesh(broker, address, client)


def line(name: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """Return a request of a batch; without a body it asks the scripted model for two tokens."""
    asked = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": name}]}
    return {"custom_id": name, "method": "POST", "url": url, "body": body or asked}


def sheet(lines: Iterable[Any]) -> bytes:
    """Return a file of lines; texts are taken as they are."""
    texts = (each if isinstance(each, str) else json.dumps(each) for each in lines)
    return "".join(f"{text}\n" for text in texts).encode()


async def upload(client: openai.AsyncOpenAI, content: bytes) -> str:
    """Upload the file of a batch and return its id."""
    return (await client.files.create(file=("in.jsonl", content), purpose="batch")).id


async def submit(
    client: openai.AsyncOpenAI, lines: Iterable[Any], endpoint: Any = CHAT, **more: Any
) -> Batch:
    """Upload lines and make a batch of them."""
    file = await upload(client, sheet(lines))
    return await create(client, input_file_id=file, endpoint=endpoint, **more)


async def create(client: openai.AsyncOpenAI, **fields: Any) -> Batch:
    """Make a batch, for chat unless told otherwise."""
    asked: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **fields}
    return await client.batches.create(**asked)


async def ended(client: openai.AsyncOpenAI, batch: Batch, within: float = 20.0) -> Batch:
    """Wait for the end of a batch."""
    found = [batch]

    async def is_over() -> bool:
        found.append(await client.batches.retrieve(batch.id))
        return found[-1].status in ("completed", "failed", "expired", "cancelled")

    await until_async(is_over, within)
    return found[-1]


async def lines_of(client: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    """Return the lines of a file that a batch gave; none if it gave none."""
    if file is None:
        return []
    content = (await client.files.content(file)).content
    return [json.loads(text) for text in content.splitlines()]
