"""Responses in the background: they outlive their client, and are told of by the store."""

from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from structlog.contextvars import bind_contextvars

from gateway.problems import Problem, describe
from gateway.quotas import Stay
from gateway.reception import House, answering
from gateway.record import Record
from gateway.responses.archive import Archive, key
from gateway.responses.composer import Composer
from gateway.responses.job import Job, compose
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
    """Where a running response is stored."""

    where: str
    lease: Lease
    revision: int


class BackgroundRunner:
    """Runs background responses of this gateway, in one task each."""

    def __init__(self, house: House, archive: Archive) -> None:
        self._house, self._archive = house, archive
        self._tasks: TaskGroup | None = None
        self._scopes: dict[str, anyio.CancelScope] = {}
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
        tasks.start_soon(self._run, job, stay, stack.pop_all(), _Place(where, lease, revision))
        return job.draft

    def stop(self, where: str) -> None:
        """End a response at once, if it runs here."""
        scope = self._scopes.get(where)
        if scope is not None:
            scope.cancel()

    async def _run(self, job: Job, stay: Stay, stack: AsyncExitStack, place: _Place) -> None:
        bind_contextvars(request_id=job.infer.id)
        composer = job.composer()
        try:
            async with stack:
                with self._scopes[place.where]:
                    await self._make(job, stay, composer, place.lease)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(SETTLE_WITHIN):
                if composer.response.status == "in_progress":
                    composer.fail(STOPPED)
                await self._settle(job, composer.response, place)
                await place.lease.give_back()
            del self._scopes[place.where]
            if not self._scopes:
                self._idle.set()

    async def _make(self, job: Job, stay: Stay, composer: Composer, lease: Lease) -> None:
        """Make the response, for as long as the lease holds."""
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await lease.hold()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            with self._record(job) as record:
                await self._compute(stay, composer, record)
            tasks.cancel_scope.cancel()

    def _record(self, job: Job) -> Record:
        """Begin a record of its own: that of the HTTP request ended when the work began."""
        house, parent = self._house, TraceContext.parse(job.infer.traceparent)
        span = house.tracer.span("response", Kind.INTERNAL, parent, {})
        record = house.journal.record(job.infer.id, span)
        record.model, record.tenant = job.infer.model, job.infer.tenant
        return record

    async def _compute(self, stay: Stay, composer: Composer, record: Record) -> None:
        try:
            async with answering(self._house.router, stay) as answer:
                record.answer = answer
                await compose(answer, composer)
        except MeshError as error:
            record.failed(error)
            composer.fail(describe(error))
        except Exception as error:  # ours alone: one response must not end all others
            record.failed(error)
            composer.fail(describe(error))
            log.exception("response.crashed", response=composer.response.id)

    async def _settle(self, job: Job, response: Response, place: _Place) -> None:
        """Write how it ended, unless somebody has written an end already: the first one stays."""
        kept = self._archive.fitting(job.kept(response))
        try:
            await self._archive.store.update(
                place.where, encode(kept), place.revision, self._archive.ttl
            )
        except Conflict:
            log.info("response.ended_elsewhere", response=response.id)
        except (StoreError, BusError) as error:
            # The lease ends: whoever asks for the response is told that it was lost.
            log.error("response.unstored", response=response.id, reason=error.code.value)
