"""Responses in the background: they outlive their client, and are told of by the store."""

from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace
from structlog.contextvars import bind_contextvars

from gateway.problems import Problem, describe
from gateway.quotas import Stay
from gateway.reception import House, answering
from gateway.record import Record
from gateway.responses.archive import Archive, key
from gateway.responses.composer import Composer
from gateway.responses.event_log import EventLog
from gateway.responses.job import Job, compose, to_nobody
from gateway.responses.kept import Kept, ResponseNotFound
from gateway.responses.lease import Lease
from mesh.errors import BusError, Conflict, Draining, MeshError, QueueFull, StoreError
from mesh.trace import TraceContext
from mesh.tracing import Kind
from schemas.openai.response_object import Response
from schemas.wire import encode

log = structlog.get_logger("gateway.responses")

SETTLE_WITHIN: Final = 5.0
"""Seconds to write how a response ended, when the gateway stops."""
MOST_RUNNING: Final = 1024
"""Background responses of one gateway; more are refused until some have ended."""
STOPPED: Final = Problem(
    status=503,
    message="The gateway that ran this response stopped, or lost the store, before its end.",
    type="server_error",
)


class _Place(NamedTuple):
    """Where a running response is stored, and its events, if they are kept."""

    where: str
    lease: Lease
    revision: int
    log: EventLog | None


class BackgroundRunner:
    """Runs background responses of this gateway, in one task each."""

    def __init__(self, house: House, archive: Archive) -> None:
        self._house, self._archive = house, archive
        self._tasks: TaskGroup | None = None
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._logs: dict[str, EventLog] = {}
        self._idle = anyio.Event()

    @property
    def running(self) -> int:
        """How many responses are being made."""
        return len(self._scopes)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run responses until cancelled; what still runs then is written down as lost."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def drain(self) -> None:
        """Begin nothing new, and wait in bounded time for what runs."""
        self._tasks = None
        if self._scopes:
            self._idle = anyio.Event()
            with anyio.move_on_after(self._house.settings.drain_timeout):
                await self._idle.wait()

    async def start(self, job: Job, stay: Stay, stack: AsyncExitStack) -> Response:
        """Store a response that is under way, and let it run.

        ``stack``: what ends when the response does; taken over once it runs, and no sooner.
        Raises ``StoreError`` or ``BusError`` if it could not be found again, ``QueueFull`` if too
        many run, ``Draining``.
        """
        tasks = self._tasks
        if tasks is None:
            raise Draining("the gateway is stopping", retry_after=1.0)
        if len(self._scopes) >= MOST_RUNNING:
            raise QueueFull("too many responses run in the background", retry_after=5.0)
        where = key(job.infer.tenant, job.draft.id)
        lease = Lease(self._archive.store, where)
        await lease.take()
        revision = await self._archive.store.create(
            where, encode(job.kept(job.draft)), self._archive.ttl
        )
        self._scopes[where] = anyio.CancelScope()
        place = _Place(where, lease, revision, self._log(job, where))
        tasks.start_soon(self._run, job, stay, stack.pop_all(), place)
        return job.draft

    def log_of(self, where: str) -> EventLog | None:
        """Return the events of a response that runs here, if they are kept."""
        return self._logs.get(where)

    def stop(self, where: str) -> None:
        """End a response at once, if it runs here."""
        scope = self._scopes.get(where)
        if scope is not None:
            scope.cancel()

    def _log(self, job: Job, where: str) -> EventLog | None:
        if not job.is_streamed:
            return None
        self._logs[where] = EventLog(self._archive.store, where, self._archive.ttl)
        return self._logs[where]

    async def _run(self, job: Job, stay: Stay, stack: AsyncExitStack, place: _Place) -> None:
        bind_contextvars(request_id=job.infer.id)
        composer = job.composer()
        try:
            async with stack:
                with self._scopes[place.where]:
                    await self._make(job, stay, composer, place)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(SETTLE_WITHIN):
                if composer.response.status == "in_progress":
                    composer.fail(STOPPED)
                await self._settle(job, composer, place)
                if place.log is not None:
                    await self._close(place.log, composer, place.where)
                await place.lease.give_back()
            del self._scopes[place.where]
            self._logs.pop(place.where, None)
            if not self._scopes:
                self._idle.set()

    async def _make(self, job: Job, stay: Stay, composer: Composer, place: _Place) -> None:
        """Make the response, for as long as the lease holds."""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await place.lease.hold()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            if place.log is not None:
                place.log.add(composer.opening())
                tasks.start_soon(place.log.run)
            with self._record(job) as record:
                await self._compute(stay, composer, record, place.log)
            tasks.cancel_scope.cancel()

    def _record(self, job: Job) -> Record:
        """Begin a record of its own: that of the HTTP request ended when the work began."""
        house, parent = self._house, TraceContext.parse(job.infer.traceparent)
        span = house.tracer.span("response", Kind.INTERNAL, parent, {})
        record = house.journal.record(job.infer.id, span)
        record.model, record.tenant = job.infer.model, job.infer.tenant
        return record

    async def _compute(
        self, stay: Stay, composer: Composer, record: Record, events: EventLog | None
    ) -> None:
        tell = to_nobody if events is None else events.add
        try:
            async with answering(self._house.router, stay) as answer:
                record.answer = answer
                await compose(answer, composer, tell)
        except MeshError as error:
            record.failed(error)
            composer.fail(describe(error))
        except Exception as error:  # ours alone: one response must not end all others
            record.failed(error)
            composer.fail(describe(error))
            log.exception("response.crashed", response=composer.response.id)

    async def _settle(self, job: Job, composer: Composer, place: _Place) -> None:
        """Write how it ended, unless somebody has written an end already: the first one stays."""
        kept = self._archive.fitting(job.kept(composer.response))
        composer.response = kept.response
        try:
            composer.response = await self._write_end(job.infer.tenant, kept, place)
        except (StoreError, BusError) as error:
            # The lease ends: whoever asks for the response is told that it was lost.
            log.error("response.unstored", response=kept.response.id, reason=error.code.value)
            composer.fail(STOPPED)

    async def _write_end(self, tenant: str, kept: Kept, place: _Place) -> Response:
        """Return the response with the end that counts."""
        store, response = self._archive.store, kept.response
        try:
            await store.update(place.where, encode(kept), place.revision, self._archive.ttl)
        except Conflict:
            log.info("response.ended_elsewhere", response=response.id)
            try:
                return (await self._archive.find(tenant, response.id)).kept.response
            except ResponseNotFound:  # it was deleted
                return replace(response, status="cancelled")
        return response

    async def _close(self, events: EventLog, composer: Composer, where: str) -> None:
        """Tell the end, and leave no events behind of a response that was deleted."""
        events.add(composer.closing())
        events.close()
        await events.write()
        try:
            if await self._archive.store.get(where) is None:
                await events.erase()
        except (StoreError, BusError) as error:
            log.warning("events.left", response=composer.response.id, reason=error.code.value)
