"""The runner: pulls jobs for idle slots, executes them, and lets the broker know that it lives.

It has one connection, in one account, and so one work stream: an account of the edge has that of
edge-only jobs, one that reaches both tiers has the other, and no mistake in here can mix them.
"""

import asyncio
import functools
import secrets
from collections import Counter

import anyio
import structlog
from anyio.abc import TaskStatus

from mesh import subjects
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.errors import MeshError
from mesh.fleet import Fleet
from mesh.inbox import Delivery
from mesh.jobs import destination
from mesh.jobs.clock import BrokerClock
from mesh.jobs.desk import Desk, Storage, lane_of
from mesh.jobs.destination import Destination
from mesh.jobs.door import no_webhooks
from mesh.jobs.execution import Bench, Execution
from mesh.jobs.fairness import Lane
from mesh.jobs.index import JobIndex
from mesh.jobs.lanes import Lanes
from mesh.jobs.room import Room
from mesh.jobs.settings import JobSettings
from mesh.jobs.slots import idle, standing_of
from mesh.jobs.store import JobStore
from mesh.jobs.streams import Work, WorkStream, parse_lane
from mesh.jobs.underway import UnderWay
from mesh.jobs.webhooks.courier import courier_of
from mesh.jobs.webhooks.sender import Sender
from mesh.router import Router
from mesh.subjects import JobSide
from schemas.fleet import Tier
from schemas.jobs import JobRecord

log = structlog.get_logger("mesh.jobs")

LOOK_EVERY = 1.0
"""Seconds between looks at what lies in the stream: news of it may be missed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds after a pull that failed: at first little, because a leader may just be elected."""
CHECK_EVERY = 1.0
"""Seconds between looks at whether jobs under way are still wanted."""
LONGEST_BATCH = 16
"""Jobs pulled at a time, so that tenants take turns."""
MOST_EXPIRED = 256


class Runner:
    """Executes the jobs of one side with a router."""

    def __init__(
        self,
        bus: Bus,
        router: Router,
        fleet: Fleet,
        side: JobSide,
        settings: JobSettings | None = None,
        clock: Clock = monotonic,
        sender: Sender | None = None,
    ) -> None:
        """Without a ``sender`` jobs with webhooks are refused."""
        settings = settings or JobSettings()
        self.side, self._bus, self._fleet = side, bus, fleet
        self._settings = settings
        self._stream = WorkStream(bus, side, settings)
        self._storage = Storage(
            bus=bus,
            store=JobStore(bus, settings.retention, settings.answer_within),
            index=JobIndex(bus, settings.answer_within),
            # Whoever reaches both tiers may put edge-only work in, and never gets it out again.
            streams={each: WorkStream(bus, each, settings) for each in JobSide}
            if side is JobSide.ANY
            else {side: self._stream},
            clock=BrokerClock(clock),
            room=Room(settings.answer_within),
        )
        self.desk = Desk(
            self._storage,
            settings,
            self.queued,
            self._on_stored,
            sender.settings.rules.check if sender else no_webhooks,
            self._on_announced,
        )
        self._courier = (
            courier_of(self._storage, self._stream, sender, settings.lease) if sender else None
        )
        self._bench = Bench(
            storage=self._storage,
            stream=self._stream,
            router=router,
            desk=self.desk,
            settings=settings,
            runner=f"{side}-{secrets.token_hex(6)}",
            choose=self._choose,
            clock=clock,
        )
        self._lanes = Lanes(clock, self._rouse_in)
        self._total = 0
        self._under_way = UnderWay[Execution](self._stream, settings.lease, "job")
        self._promised: Counter[str] = Counter()
        """Jobs by model that were pulled and are not dispatched yet: their slots look idle."""
        self._draining = False
        self.neighbour: Runner | None = None
        """The runner of the other side, if it lives in this process."""
        self._wake = anyio.Event()
        self._executions: asyncio.TaskGroup | None = None
        fleet.on_change(self._on_room)

    @property
    def executing(self) -> int:
        """How many jobs are pulled and not settled."""
        return len(self._under_way)

    def queued(self, side: JobSide) -> int:
        """Return how many messages lie in a work stream, as far as this runner may know."""
        if side is self.side:
            return self._total
        return self.neighbour.queued(side) if self.neighbour else 0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Execute jobs until cancelled; what is under way then is left to other runners."""
        await self._stream.ensure()
        await self._stream.listen()
        await self._bus.subscribe(subjects.all_due_jobs(self.side), self._on_news)
        await self._look()
        try:
            async with anyio.create_task_group() as tasks, asyncio.TaskGroup() as executions:
                self._executions = executions
                tasks.start_soon(self._keep_looking)
                tasks.start_soon(self._under_way.keep)
                tasks.start_soon(self._keep_checking)
                if self._courier is not None:
                    await tasks.start(self._courier.run)
                task_status.started()
                await self._serve()
        finally:
            self._under_way.hand_over()

    async def drain(self) -> None:
        """Pull nothing more and wait for what is under way."""
        self._draining = True
        await self._under_way.settled()
        if self._courier is not None:
            await self._courier.drain()

    async def _serve(self) -> None:
        pause = FIRST_PAUSE
        while True:
            lane = None if self._is_full() else self._lanes.next(self._has_room)
            if lane is None:
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            try:
                await self._pull(lane)
                pause = FIRST_PAUSE
            except MeshError as error:
                log.info("jobs.not_pulled", code=str(error.code))
                await anyio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _is_full(self) -> bool:
        return self._draining or len(self._under_way) >= self._settings.concurrency

    async def _pull(self, lane: Lane) -> None:
        """Pull a lane's share of the idle slots, and start what comes."""
        batch = self._share(lane)
        found = await self._stream.pull(lane, batch)
        if len(found) < batch:
            self._lanes.ran_short(lane)
        for work in found:
            self._start(work, lane.model)

    def _share(self, lane: Lane) -> int:
        room = self._settings.concurrency - len(self._under_way)
        return max(1, min(self._room(lane.model), room, LONGEST_BATCH) // max(1, len(self._lanes)))

    def _start(self, work: Work, model: str) -> None:
        assert self._executions is not None, "jobs are pulled only while running"  # noqa: S101
        execution = Execution(self._bench, work, functools.partial(self._fulfil, model))
        self._under_way.add(execution)
        self._promised[model] += 1
        self._executions.create_task(self._execute(execution))

    async def _execute(self, execution: Execution) -> None:
        try:
            with self._under_way.carrying(execution):
                await execution.run()
        finally:
            execution.dispatch()
            self._rouse()

    def _fulfil(self, model: str) -> None:
        self._promised[model] -= 1

    def _has_room(self, lane: Lane) -> bool:
        return self._room(lane.model) > 0

    def _room(self, model: str) -> int:
        slots = idle(self._fleet, model, Tier.EDGE)
        if self.side is JobSide.ANY:
            slots += idle(self._fleet, model, Tier.CLOUD)
        return slots - self._promised[model]

    def _choose(self, record: JobRecord) -> Destination | None:
        """Decide where a job that was pulled goes."""
        standing = standing_of(record, self.side, self._fleet, self._storage.clock.now_ms())
        chosen = destination.choose(
            standing, patience=self._settings.patience, hurry=self._settings.hurry
        )
        if chosen is None:
            self._lanes.rest(lane_of(record))
        return chosen

    async def _keep_looking(self) -> None:
        while True:
            await anyio.sleep(LOOK_EVERY)
            try:
                await self._look()
                await self._expire()
            except MeshError as error:
                log.debug("jobs.unseen", code=str(error.code))

    async def _look(self) -> None:
        await self._storage.room.look(self._bus)
        backlog = await self._stream.backlog()
        self._storage.clock.learn(backlog.now_ms)
        self._total = backlog.total
        self._lanes.see(backlog.lanes)
        if self._courier is not None:
            self._courier.learn(backlog.told)
        self._rouse()

    async def _expire(self) -> None:
        """End the jobs whose deadlines have passed while they waited."""
        for work in await self._stream.pull_expired(MOST_EXPIRED):
            await Execution(self._bench, work, lambda: None).expire()

    async def _keep_checking(self) -> None:
        while True:
            await anyio.sleep(CHECK_EVERY)
            try:
                for execution in self._under_way:
                    await execution.check()
            except MeshError as error:
                log.info("jobs.unchecked", code=str(error.code))

    def _on_news(self, delivery: Delivery) -> None:
        lane = parse_lane(delivery.subject)
        if lane is not None:
            self._total += 1
            self._lanes.hear(lane)

    def _on_stored(self, side: JobSide, lane: Lane) -> None:
        """Hear that a job of this runner's own desk is there, all of it."""
        if side is not self.side:
            return
        self._lanes.stored(lane)
        self._rouse()

    def _on_announced(self, side: JobSide, tenant: str) -> None:
        """Hear that a webhook is to be told."""
        if self._courier is not None and side is self.side:
            self._courier.learn((tenant,))

    def _rouse_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._rouse)

    def _on_room(self, _model: str) -> None:
        self._rouse()

    def _rouse(self) -> None:
        self._wake.set()
