"""``mesh runner``: runs durable jobs in idle slots, and answers about them."""

import functools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio

from cli.bus import bus_settings, key_role
from cli.life import Stop, run_role
from cli.options import (
    BusOptions,
    JobOptions,
    LifeOptions,
    LogOptions,
    RunnerOptions,
    StateOptions,
    UsageError,
    WebhookOptions,
)
from cli.readiness import Announcer
from cli.webhooks import webhook_settings
from mesh.accounts import Role
from mesh.background import background
from mesh.bus import BusSettings, connect
from mesh.fleet import Fleet
from mesh.jobs.runner import Runner
from mesh.jobs.service import JobService
from mesh.jobs.settings import JobSettings
from mesh.jobs.webhooks.sender import Sender, sending
from mesh.jobs.webhooks.settings import WebhookSettings
from mesh.router import Router, RouterSettings
from mesh.subjects import JobSide

SIDES = {Role.RUNNER: JobSide.ANY, Role.EDGE_RUNNER: JobSide.EDGE}


def runner(
    *,
    options: RunnerOptions = RunnerOptions(),
    jobs: JobOptions = JobOptions(),
    webhooks: WebhookOptions = WebhookOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Run durable jobs: edge-only ones with the key of edge-runner, all others with runner's."""
    ways = _ways(options, bus, state)
    told = webhook_settings(webhooks, state.state)
    serve = functools.partial(_serve, ways, job_settings(jobs), told, life.drain_timeout)
    run_role(serve, life, log)


def job_settings(options: JobOptions) -> JobSettings:
    """Return how jobs are kept and run."""
    return JobSettings(
        retention=options.job_retention_hours * 3600,
        patience=options.job_patience,
        max_failures=options.job_failures,
        concurrency=options.jobs_at_once,
        records=options.job_records_mb * 1024 * 1024,
        lease=options.job_lease,
        replicas=options.job_replicas,
        max_queued=options.max_queued_jobs,
    )


def _ways(options: RunnerOptions, bus: BusOptions, state: StateOptions) -> list[BusSettings]:
    """Return one way to the broker for each side, each with a key of its own."""
    files = [*options.runner_creds, *((bus.creds,) if bus.creds else ())]
    roles = {key_role(file, Role.RUNNER): file for file in files}
    if strangers := roles.keys() - SIDES.keys():
        raise UsageError(f"--runner-creds: runner.nk or edge-runner.nk, not {min(strangers)}.nk")
    return [
        bus_settings(replace(bus, creds=roles.get(role)), state.state, role, f"mesh-{role}")
        for role in (roles or SIDES)
    ]


async def _serve(
    ways: Sequence[BusSettings],
    settings: JobSettings,
    webhooks: WebhookSettings | None,
    drain_timeout: float,
    announcer: Announcer,
    stop: Stop,
) -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(sending(webhooks)) if webhooks else None
        runners = [await _running(stack, way, settings, sender) for way in ways]
        for each, other in zip(runners, reversed(runners), strict=True):
            each.neighbour = other if other is not each else None
        sides = " and ".join(_described(each.side) for each in runners)
        announcer.ready(f"{sides}, {settings.concurrency} at once", "")
        await stop.asked.wait()
        announcer.stopping()
        with anyio.move_on_after(drain_timeout):
            async with anyio.create_task_group() as tasks:
                for each in runners:
                    tasks.start_soon(each.drain)


async def _running(
    stack: AsyncExitStack, way: BusSettings, settings: JobSettings, sender: Sender | None
) -> Runner:
    """Start a runner on a connection of its own."""
    bus = await stack.enter_async_context(connect(way))
    fleet = Fleet()
    router = Router(bus, fleet, RouterSettings(default_deadline=settings.longest_run))
    runner = Runner(bus, router, fleet, SIDES[Role(way.role)], settings, sender=sender)
    service = JobService(bus, runner.desk)
    await stack.enter_async_context(background(router.run, runner.run, service.run))
    return runner


def _described(side: JobSide) -> str:
    return "edge-only jobs" if side is JobSide.EDGE else "jobs that may use the cloud"
