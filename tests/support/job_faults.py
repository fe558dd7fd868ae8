"""Real processes for durable jobs, a seeded hand that kills them, and a checker of what is left."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mesh import subjects
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.bus import Bus
from mesh.clock import monotonic
from mesh.errors import JobNotFound, MeshError
from mesh.inbox import Delivery
from mesh.jobs.client import Jobs
from schemas.jobs import JobEvent, JobRecord, JobState
from schemas.wire import decoder
from tests.support.batch_faults import gateway_process
from tests.support.command import Command, ready, started
from tests.support.jobs import job_broker, order
from tests.support.mesh import bus_of
from tests.support.receiver import LOOPBACK, SECRET, Receiver, receiver
from tests.support.requests import numbers
from tests.support.wait import until

LEASE = 1.0
"""Seconds; short, so that tests are."""
BACK_AFTER = 0.2
"""Seconds after which a process that has ended is started again."""

BREACHES = ("unknown", "duplicates", "stale", "wrong")

_events = decoder(JobEvent)


@asynccontextmanager
async def runner_process(
    broker: Broker, home: Path, name: str, *flags: str, **variables: str
) -> AsyncIterator[Command]:
    """Run ``mesh runner`` for the jobs that may use both tiers."""
    words = (
        "runner",
        f"--nats={broker.url}",
        f"--runner-creds={broker.creds(Role.RUNNER)}",
        f"--state={home / name}",
        f"--job-lease={LEASE}",
        "--log-level=info",
        "--json-logs",
        *flags,
    )
    async with started(home, *words, **variables) as command:
        await ready(command)
        yield command


@asynccontextmanager
async def worker_process(
    broker: Broker, home: Path, name: str, *flags: str
) -> AsyncIterator[Command]:
    """Run ``mesh worker`` with the scripted engine."""
    words = (
        "worker",
        "--engine=scripted",
        f"--nats={broker.url}",
        f"--creds={broker.creds(Role.EDGE_WORKER)}",
        f"--state={home / name}",
        f"--name={name}",
        "--json-logs",
        *flags,
    )
    async with started(home, *words) as command:
        await ready(command)
        yield command


@dataclass
class Checker:
    """Remembers what was accepted and what was told, and compares it with what is stored.

    hook: whom the jobs' ends are told to, if anybody.
    """

    jobs: Jobs
    hook: Receiver | None = None
    accepted: dict[str, str] = field(default_factory=dict)
    """Job by key."""
    refused: Counter[str] = field(default_factory=Counter)
    attempts: dict[str, int] = field(default_factory=dict)
    successes: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Accepted jobs of which it was said that there are none."""

    def hasty(self, patience: float) -> "Checker":
        """Return one that shares all this one remembers, and asks for ``patience`` seconds only."""
        return replace(self, jobs=Jobs(self.jobs._bus, "default", keep_asking=patience))

    async def listen(self, bus: Bus) -> None:
        """Follow the news of all jobs."""
        await bus.subscribe(subjects.ALL_JOB_EVENTS, self._on_news)

    async def submit(self, number: int) -> None:
        """Submit a job under its own key, until it is accepted or clearly refused."""
        key = f"job-{number}"
        try:
            webhook = self.hook.url if self.hook else None
            handle = await self.jobs.submit(order(f"count {number}", key=key, webhook=webhook))
        except MeshError as error:
            self.refused[error.code] += 1
        else:
            known = self.accepted.setdefault(key, handle.id)
            assert known == handle.id, f"{key} became two jobs"

    async def follow(self, accepted: Mapping[str, str], over: asyncio.Event) -> None:
        """Ask for accepted jobs in turn, and remember those that are said not to exist."""
        while not over.is_set():
            for job in tuple(accepted.values())[-100:]:
                try:
                    await self.jobs.get(job)
                except JobNotFound:
                    self.unknown[job] += 1
                except MeshError:
                    pass  # nobody can tell
            await asyncio.sleep(0.05)

    async def verdict(self, within: float) -> Counter[str]:
        """Wait until everything accepted has ended, and return the counts; fails on any breach."""
        records = [await self._ended(job, within) for job in self.accepted.values()]
        counts = Counter[str](accepted=len(records), refused=self.refused.total())
        counts.update(str(record.state) for record in records)
        counts["unknown"] = self.unknown.total()
        counts["attempts"] = sum(record.attempt for record in records)
        counts["duplicates"] = sum(self.successes[record.id] > 1 for record in records)
        counts["stale"] = sum(map(self._is_stale, records))
        counts["wrong"] = sum(map(_is_wrong, records))
        if self.hook is not None:
            await self._hear_all(within)
            counts["told"] = len({call.event["id"] for call in self.hook.calls})
            counts["told again"] = len(self.hook.calls) - counts["told"]
        broken = {what: counts[what] for what in BREACHES if counts[what]}
        assert not broken, f"{broken} in {dict(counts)}"
        return counts

    async def _ended(self, job: str, within: float) -> JobRecord:
        deadline, record = monotonic() + within, None
        while monotonic() < deadline:
            try:
                record = await self.jobs.get(job)
                if record.state.final:
                    return record
            except MeshError:
                pass  # whoever answers is being killed or started
            await asyncio.sleep(0.05)
        raise AssertionError(f"{job} was accepted and is lost: {record}")

    async def _hear_all(self, within: float) -> None:
        """Wait until the end of everything accepted was told."""
        assert self.hook is not None
        calls, jobs = self.hook.calls, set(self.accepted.values())
        await until(lambda: jobs <= {call.event["data"]["id"] for call in calls}, within)
        assert all(call.is_genuine for call in calls)

    def _is_stale(self, record: JobRecord) -> bool:
        """Tell whether a result is of an attempt that was known to be superseded."""
        return record.attempt < self.attempts.get(record.id, 0)

    def _on_news(self, delivery: Delivery) -> None:
        event = _events.decode(delivery.payload)
        if event.state is JobState.RUNNING:
            self.attempts[event.id] = max(event.attempt, self.attempts.get(event.id, 0))
        elif event.state is JobState.SUCCEEDED:
            self.successes[event.id] += 1


def _is_wrong(record: JobRecord) -> bool:
    if record.state is not JobState.SUCCEEDED:
        return False
    return record.result is None or record.result.text != numbers(16)


class Processes:
    """Runners, workers and gateways that come back when they die."""

    def __init__(
        self,
        broker: Broker,
        home: Path,
        flags: tuple[str, ...],
        runner_flags: tuple[str, ...] = (),
    ) -> None:
        """``flags``: of the workers."""
        self.broker, self._runner_flags = broker, runner_flags
        self._home, self._flags = home, flags
        self._up: dict[str, Command] = {}
        self._count = 0

    def up(self, kind: str) -> list[Command]:
        """Return the processes of a kind that are up."""
        return [
            command
            for name, command in self._up.items()
            if name.startswith(kind) and command.process.returncode is None
        ]

    def pids(self, kind: str) -> list[int]:
        """Return the process ids of the runners or the workers that are up."""
        return [command.process.pid for command in self.up(kind)]

    async def keep(self, kind: str) -> None:
        """Keep one process of a kind up until cancelled."""
        while True:
            self._count += 1
            name = f"{kind}{self._count}"
            async with self._start(kind, name) as command:
                self._up[name] = command
                try:
                    await command.process.wait()
                finally:
                    del self._up[name]
            await asyncio.sleep(BACK_AFTER)

    def _start(self, kind: str, name: str) -> AbstractAsyncContextManager[Command]:
        if kind == "runner":
            told = ("--webhook-secret-env=HOOK_SECRET", f"--webhook-allow={LOOPBACK}")
            flags = (*told, *self._runner_flags)
            return runner_process(self.broker, self._home, name, *flags, HOOK_SECRET=SECRET)
        if kind == "gateway":
            return gateway_process(self.broker, self._home, name)
        return worker_process(self.broker, self._home, name, *self._flags)


@dataclass(frozen=True)
class Fault:
    """Something done to a process, and whether it is undone after a while."""

    name: str
    target: Callable[[Processes], list[int]]
    signal: signal.Signals


FAULTS = (
    Fault("kill a runner", lambda each: each.pids("runner"), signal.SIGKILL),
    Fault("freeze a runner", lambda each: each.pids("runner"), signal.SIGSTOP),
    Fault("restart a runner", lambda each: each.pids("runner"), signal.SIGTERM),
    Fault("kill a worker", lambda each: each.pids("worker"), signal.SIGKILL),
    Fault("freeze a worker", lambda each: each.pids("worker"), signal.SIGSTOP),
    Fault("restart a worker", lambda each: each.pids("worker"), signal.SIGTERM),
)
BROKER_FAULT = Fault("kill the broker", lambda each: [each.broker.pid], signal.SIGKILL)
GATEWAY_FAULTS = (
    Fault("kill a gateway", lambda each: each.pids("gateway"), signal.SIGKILL),
    Fault("freeze a gateway", lambda each: each.pids("gateway"), signal.SIGSTOP),
    Fault("restart a gateway", lambda each: each.pids("gateway"), signal.SIGTERM),
)


async def strike(processes: Processes, fault: Fault, chance: random.Random, pause: float) -> None:
    """Do it; who was frozen is thawed after ``pause`` seconds."""
    targets = fault.target(processes)
    if not targets:
        return
    pid = chance.choice(targets)
    try:
        os.kill(pid, fault.signal)
        await asyncio.sleep(pause)
        if fault.signal is signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return  # it died of the one before


@asynccontextmanager
async def chaotic_mesh(
    folder: Path, *, runners: int = 2, workers: int = 2, flags: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Processes, Checker]]:
    """Run a broker, runners and workers as processes, and a checker that follows them."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(folder / "broker"))
        bus = await stack.enter_async_context(bus_of(broker, Role.CLIENT))
        hook = await stack.enter_async_context(receiver())
        checker = Checker(Jobs(bus, "default"), hook)
        await checker.listen(bus)
        processes = Processes(broker, folder, flags)
        kinds = ["runner"] * runners + ["worker"] * workers
        await stack.enter_async_context(keeping(processes, *kinds))
        yield processes, checker


@asynccontextmanager
async def keeping(processes: Processes, *kinds: str) -> AsyncIterator[None]:
    """Keep a process of each kind up, once all are."""
    async with asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(processes.keep(kind)) for kind in kinds]
        try:
            await until(lambda: len(processes.pids("")) == len(kept), within=60)
            yield
        finally:
            for task in kept:
                task.cancel()
