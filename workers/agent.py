"""The agent: the bus side of every worker. Takes work, serves it, ends it, drains.

What it takes is for ``admission.py`` to say, what others are told of it is in ``adverts.py``, and
how long a router that has fallen silent counts as there in ``leases.py``.
"""

import asyncio
from collections.abc import Sequence

import anyio
import structlog
from anyio.abc import TaskStatus
from structlog.contextvars import bind_contextvars

from mesh import subjects
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LineLost,
    MeshError,
    ModelNotFound,
    WorkerLost,
)
from mesh.inbox import Delivery, Status
from schemas.inference import Cancel, Dispatch, Lease, ModelOrder
from schemas.wire import UNREADABLE, decoder
from workers.admission import Admission
from workers.adverts import Adverts
from workers.engine import Engine, Loadable
from workers.frame_writer import WHOLE_WINDOW, FrameWriter
from workers.leases import Leases
from workers.running import Running
from workers.settings import AgentSettings

log = structlog.get_logger("mesh.agent")

BEAT_EVERY = 1.0
SWEEP_EVERY = 0.25
GOODBYE = 1.0
"""Seconds for the last words of a worker that is told to hurry."""

_dispatches = decoder(Dispatch)
_cancels = decoder(Cancel)
_leases = decoder(Lease)
_orders = decoder(ModelOrder)


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
        self._running: dict[str, Running] = {}
        self._admission = Admission(settings.name)
        self._adverts = Adverts(bus, settings, self._engines.values(), self._admission)
        self._leases = Leases()
        self._idle = asyncio.Event()
        self._idle.set()
        self._attempts: asyncio.TaskGroup | None = None
        self.drain_asked = asyncio.Event()
        """Set when someone asks over the bus that this worker drain."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started once the first advert is out."""
        work = subjects.work(self._settings.tier, self._settings.name, "*")
        async with anyio.create_task_group() as tasks, asyncio.TaskGroup() as attempts:
            self._attempts = attempts
            await self._bus.subscribe(work, self._on_work)
            roll_call = subjects.roll_call(self._settings.tier)
            # A router has just come up, and takes whoever does not answer for absent.
            await self._bus.subscribe(roll_call, lambda _: self._adverts.send())
            for engine in self._engines.values():
                tasks.start_soon(engine.run, self._adverts.changed)
            tasks.start_soon(self._adverts.run)
            tasks.start_soon(self._sweep)
            await self._bus.flush()
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._admission.draining = True  # What arrives from now on finds nobody to do it.

    async def drain(self) -> None:
        """Take nothing new, let running attempts finish in time, and say goodbye.

        Cancelled, it says so at once to those that still run.
        """
        self._admission.draining = True
        self._adverts.send()
        try:
            with anyio.move_on_after(self._settings.drain_timeout):
                await self._idle.wait()
        finally:
            with anyio.move_on_after(GOODBYE, shield=True):
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        for running in tuple(self._running.values()):
            self._end(running, WorkerLost("the worker shut down before the answer was complete"))
        self._adverts.depart()
        await self._bus.flush()

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
                    self._leases.renew(_leases.decode(delivery.payload).router, self._clock())
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
        if work.incarnation not in ("", self._adverts.incarnation):
            return  # It is for a namesake, who hears it too, or for one who was here before.
        engine = self._engines.get(work.request.model)
        error_ = self._refusal(work, engine)
        if engine is None or error_ is not None:
            self._refuse(delivery.reply, error_ or ModelNotFound(), engine)
            return
        self._admit(work, engine, delivery.reply)

    def _refusal(self, work: Dispatch, engine: Engine | None) -> MeshError | None:
        refusal = self._admission.refusal(work, engine)
        if refusal is None and work.attempt in self._running:
            return InvalidRequest("this attempt is already running")
        return refusal

    def _refuse(self, reply: str, error: MeshError, engine: Engine | None = None) -> None:
        room = self._admission.room_told_with(error, engine)
        self._writer(reply, stream=False, running=None).failed(error, room)

    def _admit(self, work: Dispatch, engine: Engine, reply: str) -> None:
        running = Running(work, engine)
        running.writer = writer = self._writer(reply, stream=work.request.stream, running=running)
        self._running[work.attempt] = running
        self._admission.slots.take(work.request)
        self._leases.renew(work.router, self._clock())
        self._idle.clear()
        assert self._attempts is not None, "work arrives only while the agent runs"  # noqa: S101
        # The task comes first: an answer that is there in its first step shares the write with
        # the acceptance, which is buffered below before the task has had its turn.
        running.task = self._attempts.create_task(self._serve(running, writer))
        # Not a ``finally`` in the task: one that is cancelled before its first step has none.
        running.task.add_done_callback(lambda _: self._over(running))
        status = engine.status()
        writer.accepted(self._settings.name, status.digest, self._admission.room(engine, status))
        self._adverts.changed()
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
                writer.done(finish, self._admission.room(engine, engine.status()))

    def _end(self, running: Running, error: MeshError) -> None:
        """Stop the attempt, free its slot and report, unless it is over already."""
        if not self._release(running) or running.writer is None:
            return
        running.writer.failed(error, self._admission.room(running.engine, running.engine.status()))
        running.writer.close()
        running.stop()

    def _over(self, running: Running) -> None:
        """Note that the task of an attempt has ended: task and writer hold it, as it holds them."""
        self._release(running)
        running.task = running.timer = running.writer = None

    def _release(self, running: Running) -> bool:
        if self._running.pop(running.work.attempt, None) is None:
            return False
        self._admission.slots.release(running.work.request)
        if running.timer is not None:
            running.timer.cancel()
        if not self._running:
            self._idle.set()
        self._adverts.changed()
        return True

    def _on_cancel(self, cancel: Cancel) -> None:
        running = self._running.get(cancel.attempt)
        if running is not None:
            running.abandon()

    def _on_order(self, op: str, name: str) -> None:
        engine: object = self._engines.get(name)
        if not isinstance(engine, Loadable):
            log.warning("work.not_loadable", op=op, model=name)
        elif op == "load":
            engine.load()
        else:
            engine.unload()

    async def _sweep(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            now = self._clock()
            self._leases.excuse(now - last - SWEEP_EVERY, now)
            last = now
            for running in tuple(self._running.values()):
                if self._leases.has_run_out(running.router, now):
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
            self._leases.keep({running.router for running in self._running.values()})


def _ignore() -> None:
    """Nobody is computing yet when a refusal cannot be sent."""
