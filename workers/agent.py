"""The agent: the bus side of every worker. Adverts, admission, frames, cancel, leases, drain.

The agent is the sole arbiter of its slots: a dispatch takes one or is refused at once, and no
queue forms here that would be stranded if the machine went away. Background attempts take idle
slots only, and none from interactive ones (``slots.py``).
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import psutil
import structlog
from anyio.abc import TaskStatus
from msgspec.structs import replace
from structlog.contextvars import bind_contextvars

from mesh import subjects
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.errors import (
    BusUnavailable,
    Busy,
    DeadlineExceeded,
    Draining,
    InternalError,
    InvalidRequest,
    LineLost,
    MeshError,
    ModelNotFound,
    NoCapacity,
    WorkerLost,
)
from mesh.inbox import Delivery, Status
from mesh.seats import UNCOUNTED, Room
from mesh.trace import TraceContext
from schemas.fleet import Advert, ModelState, ModelStatus, Tier
from schemas.inference import Cancel, Dispatch, Lease, ModelOrder, Urgency
from schemas.wire import UNREADABLE, decoder, encode
from workers.engine import Engine, Loadable
from workers.frame_writer import STREAM_WINDOW, WHOLE_WINDOW, FrameWriter
from workers.slots import Slots

log = structlog.get_logger("mesh.agent")

BEAT_EVERY = 1.0
LEASE_LASTS = 2.0
"""Seconds without a lease after which a router's attempts are nobody's any more."""
SWEEP_EVERY = 0.25
COALESCE_ADVERTS = 0.02
GOODBYE = 1.0
"""Seconds for the last words of a worker that is told to hurry."""

_dispatches = decoder(Dispatch)
_cancels = decoder(Cancel)
_leases = decoder(Lease)
_orders = decoder(ModelOrder)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Who this worker is, and its paces.

    advert_interval, drain_timeout: seconds. stream_window: seconds for which the tokens of a
    stream are gathered, 0 for a frame per token.
    """

    name: str
    tier: Tier = Tier.EDGE
    labels: dict[str, str] = field(default_factory=dict)
    advert_interval: float = 1.0
    drain_timeout: float = 30.0
    stream_window: float = STREAM_WINDOW


class Running:
    """An attempt that holds a slot."""

    __slots__ = ("engine", "router", "task", "timer", "work", "writer")

    def __init__(self, work: Dispatch, engine: Engine) -> None:
        self.work, self.engine, self.router = work, engine, work.router
        self.writer: FrameWriter | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the attempt belongs to, empty if its router names none."""
        trace = TraceContext.parse(self.work.traceparent)
        return "" if trace is None else trace.trace_id

    def stop(self) -> None:
        """Stop computing; the slot is freed once the engine has let go."""
        if self.task is not None:
            self.task.cancel()


class Agent:
    """Serves the engines of one worker on the bus."""

    def __init__(
        self,
        bus: Bus,
        engines: Sequence[Engine],
        settings: AgentSettings,
        clock: Clock = monotonic,
    ) -> None:
        self._bus, self._settings, self._clock = bus, settings, clock
        self._engines = {engine.status().name: engine for engine in engines}
        self._incarnation = f"w{random.getrandbits(64):016x}"
        self._sequence = 0
        self._memory_free = 0
        self._running: dict[str, Running] = {}
        self._slots = Slots()
        self._heard: dict[str, float] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._advert_timer: asyncio.TimerHandle | None = None
        self._attempts: asyncio.TaskGroup | None = None
        self.draining = self._departed = False
        self.drain_asked = asyncio.Event()
        """Set when someone asks over the bus that this worker drain."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started once the first advert is out."""
        work = subjects.work(self._settings.tier, self._settings.name, "*")
        async with anyio.create_task_group() as tasks, asyncio.TaskGroup() as attempts:
            self._attempts = attempts
            await self._bus.subscribe(work, self._on_work)
            roll_call = subjects.roll_call(self._settings.tier)
            await self._bus.subscribe(roll_call, lambda _: self.changed())
            for engine in self._engines.values():
                tasks.start_soon(engine.run, self.changed)
            tasks.start_soon(self._advertise)
            tasks.start_soon(self._sweep)
            await self._bus.flush()
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self.draining = True  # What arrives from now on finds nobody to do it.

    async def drain(self) -> None:
        """Take nothing new, let running attempts finish in time, and say goodbye.

        Cancelled, it says so at once to those that still run.
        """
        self.draining = True
        self._advertise_now()
        try:
            with anyio.move_on_after(self._settings.drain_timeout):
                await self._idle.wait()
        finally:
            with anyio.move_on_after(GOODBYE, shield=True):
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        for running in tuple(self._running.values()):
            self._end(running, WorkerLost("the worker shut down before the answer was complete"))
        self._departed = True
        self._post_advert(models=())
        await self._bus.flush()

    def changed(self) -> None:
        """Send an advert soon; changes that come together share one."""
        if self._advert_timer is None:
            loop = asyncio.get_running_loop()
            self._advert_timer = loop.call_later(COALESCE_ADVERTS, self._advertise_now)

    @property
    def running(self) -> int:
        """How many attempts hold a slot."""
        return len(self._running)

    def _on_work(self, delivery: Delivery) -> None:
        if delivery.status is not Status.MESSAGE:
            return
        op = delivery.subject.rpartition(".")[2]
        try:
            match op:
                case "infer":
                    self._on_infer(delivery)
                case "cancel":
                    self._on_cancel(_cancels.decode(delivery.payload))
                case "lease":
                    self._heard[_leases.decode(delivery.payload).router] = self._clock()
                case "drain":
                    self.drain_asked.set()
                case "load" | "unload":
                    self._on_order(op, _orders.decode(delivery.payload).model)
        except UNREADABLE as error:
            log.warning("work.malformed", op=op, error=str(error))

    def _on_infer(self, delivery: Delivery) -> None:
        if not subjects.is_reply(delivery.reply):
            log.warning("work.bad_reply", reply=delivery.reply)
            return
        try:
            work = _dispatches.decode(delivery.payload)
        except UNREADABLE as error:
            self._refuse(delivery.reply, InvalidRequest(f"malformed dispatch: {error}"))
            return
        if work.incarnation not in ("", self._incarnation):
            return  # It is for a namesake, who hears it too, or for one who was here before.
        name = work.request.model
        engine = self._engines.get(name)
        error_ = self._refusal(name, engine, work)
        if engine is None or error_ is not None:
            self._refuse(delivery.reply, error_ or ModelNotFound(), engine)
            return
        self._admit(work, engine, delivery.reply)

    def _refusal(self, name: str, engine: Engine | None, work: Dispatch) -> MeshError | None:
        if self.draining:
            return Draining()
        if engine is None:
            return ModelNotFound(f"worker {self._settings.name} does not serve {name!r}")
        status = engine.status()
        if status.state is ModelState.FAILED:
            return NoCapacity(
                f"{name} is down on {self._settings.name}: {status.detail}", retry_after=5.0
            )
        if self._must_wait(status):
            return Busy(f"{name} is being loaded")
        room = self._room(engine, status)
        if not (room.free if work.request.urgency is Urgency.INTERACTIVE else room.idle):
            return Busy(f"all slots of {name} are taken")
        if work.attempt in self._running:
            return InvalidRequest("this attempt is already running")
        return DeadlineExceeded() if work.remaining_ms <= 0 else None

    def _refuse(self, reply: str, error: MeshError, engine: Engine | None = None) -> None:
        room = UNCOUNTED
        if isinstance(error, Busy | Draining):
            room = Room(0, 0) if engine is None else self._room(engine, engine.status())
        self._writer(reply, stream=False, running=None).failed(error, room)

    def _admit(self, work: Dispatch, engine: Engine, reply: str) -> None:
        running = Running(work, engine)
        running.writer = writer = self._writer(reply, stream=work.request.stream, running=running)
        self._running[work.attempt] = running
        self._slots.take(work.request)
        self._heard[work.router] = self._clock()
        self._idle.clear()
        assert self._attempts is not None, "work arrives only while the agent runs"  # noqa: S101
        # The task comes first: an answer that is there in its first step shares the write with
        # the acceptance, which is buffered below before the task has had its turn.
        running.task = self._attempts.create_task(self._serve(running, writer))
        # Not a ``finally`` in the task: one that is cancelled before its first step has none.
        running.task.add_done_callback(lambda _: self._over(running))
        status = engine.status()
        writer.accepted(self._settings.name, status.digest, self._room(engine, status))
        self.changed()
        loop = asyncio.get_running_loop()
        running.timer = loop.call_later(
            work.remaining_ms / 1000, self._end, running, DeadlineExceeded()
        )

    def _writer(self, reply: str, *, stream: bool, running: Running | None) -> FrameWriter:
        return FrameWriter(
            self._bus,
            reply,
            self._clock,
            window=self._settings.stream_window if stream else WHOLE_WINDOW,
            eager=stream,
            on_broken=running.stop if running is not None else _ignore,
        )

    async def _serve(self, running: Running, writer: FrameWriter) -> None:
        # The task's own context: on every line that the engine writes about this attempt.
        bind_contextvars(request_id=running.work.request.id, trace_id=running.trace_id)
        try:
            finish = await running.engine.generate(running.work, writer.emit)
        except MeshError as error:
            self._end(running, error)
        except Exception:
            log.exception("attempt.crashed")
            self._end(running, InternalError())
        else:
            if self._release(running):
                engine = running.engine
                writer.done(finish, self._room(engine, engine.status()))

    def _end(self, running: Running, error: MeshError) -> None:
        """Stop the attempt, free its slot and report, unless it is over already."""
        if not self._release(running) or running.writer is None:
            return
        running.writer.failed(error, self._room(running.engine, running.engine.status()))
        running.writer.close()
        running.stop()

    def _over(self, running: Running) -> None:
        """Note that the task of an attempt has ended: task and writer hold it, as it holds them."""
        self._release(running)
        running.task = running.timer = running.writer = None

    def _release(self, running: Running) -> bool:
        if self._running.pop(running.work.attempt, None) is None:
            return False
        self._slots.release(running.work.request)
        if running.timer is not None:
            running.timer.cancel()
        if not self._running:
            self._idle.set()
        self.changed()
        return True

    def _on_cancel(self, cancel: Cancel) -> None:
        running = self._running.get(cancel.attempt)
        if running is not None:
            self._abandon(running)

    def _abandon(self, running: Running) -> None:
        """Stop computing for a reader that is gone."""
        if running.writer is not None:
            running.writer.close()
            running.writer = None
        running.stop()

    def _on_order(self, op: str, name: str) -> None:
        engine: object = self._engines.get(name)
        if not isinstance(engine, Loadable):
            log.warning("work.not_loadable", op=op, model=name)
        elif op == "load":
            engine.load()
        else:
            engine.unload()

    def _must_wait(self, status: ModelStatus) -> bool:
        """Tell whether requests do better to wait for a model in the router.

        There they can go elsewhere if it takes long. One that is loaded because attempts here wait
        for it may have company.
        """
        return status.state is ModelState.LOADING and not self._slots.taken(status.name)

    def _room(self, engine: Engine, status: ModelStatus) -> Room:
        if self.draining or status.state is ModelState.FAILED or self._must_wait(status):
            return Room(0, 0)
        return self._slots.room(status, gives_way=engine.gives_way)

    async def _sweep(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = self._clock()
            self._excuse_silence(now - last - SWEEP_EVERY, now)
            last = now
            for running in tuple(self._running.values()):
                if now - self._heard.get(running.router, now) > LEASE_LASTS:
                    log.info(
                        "attempt.unleased",
                        request_id=running.work.request.id,
                        trace_id=running.trace_id,
                    )
                    # A router that is not dead but was cut off or stood still learns what became
                    # of it, and that the worker is not to blame.
                    self._end(running, LineLost("the worker heard nothing from the router"))
                elif running.writer is not None and now - running.writer.sent_at >= BEAT_EVERY:
                    running.writer.beat()
            alive = {running.router for running in self._running.values()}
            for router in self._heard.keys() - alive:
                del self._heard[router]

    def _excuse_silence(self, seconds: float, now: float) -> None:
        """Do not count time in which this process itself stood still."""
        for router, heard_at in self._heard.items():
            self._heard[router] = min(heard_at + max(0.0, seconds), now)

    async def _advertise(self) -> None:
        while True:
            self._memory_free = psutil.virtual_memory().available
            self._advertise_now()
            await asyncio.sleep(self._settings.advert_interval)

    def _advertise_now(self) -> None:
        if self._advert_timer is not None:
            self._advert_timer.cancel()
            self._advert_timer = None
        if self._departed:
            return
        self._post_advert(tuple(map(self._status, self._engines.values())))

    def _status(self, engine: Engine) -> ModelStatus:
        status = engine.status()
        room = self._room(engine, status)
        return replace(status, slots_free=room.free, slots_idle=room.idle)

    def _post_advert(self, models: tuple[ModelStatus, ...]) -> None:
        self._sequence += 1
        advert = Advert(
            worker=self._settings.name,
            tier=self._settings.tier,
            incarnation=self._incarnation,
            sequence=self._sequence,
            draining=self.draining,
            labels=self._settings.labels,
            memory_free=self._memory_free,
            models=models,
        )
        subject = subjects.capacity(self._settings.tier, self._settings.name)
        try:
            self._bus.post(subject, encode(advert))
        except BusUnavailable:
            # The next advert goes out within a second, or with the first change after a reconnect.
            return


def _ignore() -> None:
    """Nobody is computing yet when a refusal cannot be sent."""
