"""Runs the parts of durable jobs inside a test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.clock import Clock, monotonic
from mesh.fleet import Fleet
from mesh.jobs.client import Jobs
from mesh.jobs.runner import Runner
from mesh.jobs.service import JobService
from mesh.jobs.settings import MIB, JobSettings
from mesh.jobs.store import ensure
from mesh.jobs.webhooks.sender import Sender, sending
from mesh.jobs.webhooks.settings import WebhookSettings
from mesh.router import Router
from mesh.subjects import JobSide
from schemas.jobs import Submit
from tests.support.mesh import broker_in, bus_of, scripted_worker
from tests.support.requests import chat
from tests.support.wait import until
from workers.scripted import ScriptedSettings

SMALL = JobSettings(records=64 * MIB, keys=16 * MIB, index=16 * MIB)
REQUEST_FIELDS = ("policy", "model", "max_tokens", "n", "logprobs", "cloud_attempts")
ROLES = {JobSide.ANY: Role.RUNNER, JobSide.EDGE: Role.EDGE_RUNNER}


@asynccontextmanager
async def job_broker(folder: Path, settings: JobSettings = SMALL) -> AsyncIterator[Broker]:
    """Run a broker that stores jobs."""
    async with broker_in(folder) as broker:
        async with bus_of(broker, Role.ADMIN) as admin:
            await ensure(admin, settings)
        yield broker


@asynccontextmanager
async def runner_of(
    broker: Broker,
    side: JobSide = JobSide.ANY,
    settings: JobSettings = SMALL,
    *models: str,
    clock: Clock = monotonic,
    sender: Sender | None = None,
) -> AsyncIterator[Runner]:
    """Run a runner with its service, once it has heard of ``models``."""
    async with bus_of(broker, ROLES[side]) as bus:
        fleet = Fleet()
        router = Router(bus, fleet)
        runner = Runner(bus, router, fleet, side, settings, clock, sender)
        service = JobService(bus, runner.desk)
        async with background(router.run, runner.run, service.run):
            await until(lambda: all(fleet.has(model) for model in models))
            yield runner


@asynccontextmanager
async def jobs_of(
    broker: Broker, tenant: str = "default", role: Role = Role.CLIENT
) -> AsyncIterator[Jobs]:
    """Connect as a client of a tenant."""
    async with bus_of(broker, role) as bus:
        yield Jobs(bus, tenant)


@dataclass
class JobMesh:
    """Everything that jobs need, in one process."""

    broker: Broker
    runner: Runner
    jobs: Jobs
    stack: AsyncExitStack = field(repr=False)


@asynccontextmanager
async def job_mesh(
    folder: Path,
    *,
    script: ScriptedSettings | None = None,
    settings: JobSettings = SMALL,
    worker: bool = True,
    webhooks: WebhookSettings | None = None,
) -> AsyncIterator[JobMesh]:
    """Run broker, runner, and one scripted worker unless told otherwise, with a client."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(folder, settings))
        if worker:
            await stack.enter_async_context(scripted_worker(broker, settings=script))
        models = [(script or ScriptedSettings()).name] if worker else []
        sender = await stack.enter_async_context(sending(webhooks)) if webhooks else None
        running = runner_of(broker, JobSide.ANY, settings, *models, sender=sender)
        runner = await stack.enter_async_context(running)
        jobs = await stack.enter_async_context(jobs_of(broker))
        yield JobMesh(broker, runner, jobs, stack)


def order(text: str = "count", **changes: object) -> Submit:
    """Return a submission to the scripted model; fields of its request go there."""
    inner = {key: changes.pop(key) for key in REQUEST_FIELDS if key in changes}
    return Submit(request=chat(text, id="", **inner), **changes)  # type: ignore[arg-type]
