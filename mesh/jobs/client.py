"""Submitting jobs and waiting for them, over any connection to the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self, TypeVar

import msgspec
from msgspec.structs import replace

from mesh import subjects
from mesh.bus import Bus
from mesh.clock import monotonic
from mesh.errors import (
    Cancelled,
    DeadlineExceeded,
    MeshError,
    NoResponders,
    from_code,
)
from mesh.failed import told
from mesh.inbox import Delivery
from mesh.jobs.desk import new_id
from mesh.subjects import JobOp
from schemas.failures import FailureCode
from schemas.frames import Failed
from schemas.inference import Completion
from schemas.jobs import (
    JobEvent,
    JobListQuery,
    JobPage,
    JobQuery,
    JobRecord,
    JobState,
    Submit,
)
from schemas.wire import UNREADABLE, Message, decoder, encode

FIRST_PATIENCE, LONGEST_PATIENCE = 1.0, 10.0
"""Seconds for one answer: little at first, because the broker may ask a runner that stands still,
and the next time it may be another one's turn."""
REMEMBERED = 4096
"""Ends of jobs that are remembered, for those who ask after the news came."""
KEEP_ASKING = 30.0
"""Seconds for which a question is repeated while nobody answers it; repeating does no harm."""
FIRST_LOOK, LONGEST_LOOK = 1.0, 10.0
"""Seconds between looks at a job's record, for news that were missed."""

PASSING = frozenset(
    {
        FailureCode.BUS_UNAVAILABLE,
        FailureCode.NO_RESPONDERS,
        FailureCode.DEADLINE_EXCEEDED,
        FailureCode.QUEUE_FULL,
        FailureCode.STORE_UNAVAILABLE,
    }
)
"""What a repetition may mend: a runner that comes back, a cluster that elects a leader."""

M = TypeVar("M", bound=Message)

_records, _pages, _events = decoder(JobRecord), decoder(JobPage), decoder(JobEvent)
_failures = decoder(Failed)


class Jobs:
    """The jobs of one tenant."""

    def __init__(self, bus: Bus, tenant: str, keep_asking: float = KEEP_ASKING) -> None:
        """``keep_asking``: seconds for which a question is repeated that nobody answers."""
        self._bus, self._tenant, self._keep_asking = bus, tenant, keep_asking
        self._waiting: dict[str, set[Listener]] = {}
        self._ended: dict[str, None] = {}
        """Jobs whose end was told lately, the newest last."""
        self._hears = False

    async def submit(self, order: Submit) -> "JobHandle":
        """Store a job and return a handle to it.

        Repeated while nobody answers. Raises ``Conflict`` if its
        key or id is that of another job, ``StoreFull``, ``PayloadTooLarge``, ``InvalidRequest``,
        and ``NoResponders`` if no runner is up.
        """
        order = replace(order, id=order.id or new_id(), tenant=self._tenant)
        await self.hear()
        record = await self._ask(JobOp.SUBMIT, order, _records)
        return JobHandle(self, record, is_new=record.id == order.id and not record.attempt)

    def handle(self, job: str) -> "JobHandle":
        """Return a handle to a job that was submitted before."""
        state = JobState.QUEUED
        return JobHandle(self, JobRecord(id=job, tenant=self._tenant, state=state))

    async def get(self, job: str, *, request: bool = False) -> JobRecord:
        """Return a job's record, with what was asked if wanted; raises ``JobNotFound``."""
        query = JobQuery(id=job, tenant=self._tenant, request=request)
        return await self._ask(JobOp.GET, query, _records)

    async def list(
        self, state: JobState | None = None, *, limit: int = 100, after: int = 0
    ) -> JobPage:
        """Return some jobs, in the order of their last change."""
        query = JobListQuery(tenant=self._tenant, state=state, limit=limit, after=after)
        return await self._ask(JobOp.LIST, query, _pages)

    async def cancel(self, job: str) -> JobRecord:
        """End a job; raises ``Conflict`` if it has ended otherwise."""
        return await self._ask(JobOp.CANCEL, JobQuery(id=job, tenant=self._tenant), _records)

    async def retry(self, job: str) -> JobRecord:
        """Queue a failed job again; raises ``Conflict`` if it has not failed."""
        return await self._ask(JobOp.RETRY, JobQuery(id=job, tenant=self._tenant), _records)

    async def drop(self, job: str) -> JobRecord:
        """Forget a job that has ended; raises ``Conflict`` if it has not."""
        return await self._ask(JobOp.DROP, JobQuery(id=job, tenant=self._tenant), _records)

    def listener(self, job: str) -> "Listener":
        """Return a context in which news of a job are noticed."""
        return Listener(self._waiting, job)

    def has_ended(self, job: str) -> bool:
        """Tell whether the end of a job was heard of lately."""
        return job in self._ended

    async def hear(self) -> None:
        """Follow the news of the tenant's jobs from now on."""
        if not self._hears:
            self._hears = True
            await self._bus.subscribe(subjects.job_events(self._tenant), self._on_news)

    def _on_news(self, delivery: Delivery) -> None:
        try:
            event = _events.decode(delivery.payload)
        except UNREADABLE:
            return
        if event.state.final:
            self._ended[event.id] = None
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
        else:
            self._ended.pop(event.id, None)  # a person had it tried again
        for listener in self._waiting.get(event.id, ()):
            listener.hear(event)

    async def _ask(self, op: JobOp, question: Message, form: msgspec.json.Decoder[M]) -> M:
        deadline, pause, patience = monotonic() + self._keep_asking, 0.05, FIRST_PATIENCE
        payload = encode(question)
        while True:
            try:
                answer = await self._bus.request(
                    subjects.job_service(op), payload, timeout=patience
                )
                return _read(answer, form)
            except MeshError as error:
                if error.code not in PASSING or monotonic() + pause >= deadline:
                    raise _explained(error) from None
            await asyncio.sleep(pause)
            pause, patience = min(pause * 2, 2.0), min(patience * 2, LONGEST_PATIENCE)


class Listener:
    """Notices the news of one job; a context manager."""

    def __init__(self, waiting: dict[str, set["Listener"]], job: str) -> None:
        self._waiting, self._job = waiting, job
        self._changed, self._ended = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._waiting.setdefault(self._job, set()).add(self)
        return self

    def __exit__(self, *_: object) -> None:
        waiting = self._waiting[self._job]
        waiting.discard(self)
        if not waiting:
            del self._waiting[self._job]

    def hear(self, event: JobEvent) -> None:
        """Take note of news."""
        self._changed.set()
        if event.state.final:
            self._ended.set()

    async def change(self, within: float) -> None:
        """Wait for any news, but not forever."""
        await self._wait(self._changed, within)
        self._changed.clear()

    async def end(self, within: float) -> None:
        """Wait for the news of the end, but not forever."""
        await self._wait(self._ended, within)

    async def _wait(self, event: asyncio.Event, within: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await event.wait()


class JobHandle:
    """A job; iterate for its states as they change, up to the final one."""

    def __init__(self, jobs: Jobs, record: JobRecord, *, is_new: bool = False) -> None:
        """``is_new``: it was queued when its news were followed already."""
        self._jobs, self._record, self._is_new = jobs, record, is_new

    @property
    def id(self) -> str:
        """The job's id, with which another process finds it."""
        return self._record.id

    async def status(self) -> JobRecord:
        """Return the record as it is now."""
        self._record = await self._jobs.get(self.id)
        return self._record

    async def cancel(self) -> None:
        """End the job; raises ``Conflict`` if it has ended otherwise."""
        await self._jobs.cancel(self.id)

    async def result(self, timeout: float | None = None) -> Completion:
        """Wait for the answer, for ``timeout`` seconds at most.

        Raises what the job failed of, ``Cancelled``, or ``DeadlineExceeded`` if it takes longer;
        the job goes on then.
        """
        try:
            async with asyncio.timeout(timeout):
                return _outcome(await self.ended())
        except TimeoutError:
            raise DeadlineExceeded(f"the job has not ended within {timeout:g} s") from None

    async def ended(self) -> JobRecord:
        """Wait for the end, however it ends, and return the record.

        It is read when its end is told, and now and then without.
        """
        await self._jobs.hear()
        pause = FIRST_LOOK
        with self._jobs.listener(self.id) as listener:
            if self._is_new and not self._jobs.has_ended(self.id):
                await listener.end(pause)
            while not (record := await self.status()).state.final:
                pause = min(pause * 2, LONGEST_LOOK)
                await listener.end(pause)
        return record

    async def __aiter__(self) -> AsyncIterator[JobRecord]:
        """Yield the record at first and at every change that is noticed."""
        await self._jobs.hear()
        shown, pause = None, FIRST_LOOK
        with self._jobs.listener(self.id) as listener:
            while True:
                record = await self.status()
                if (record.state, record.attempt) != shown:
                    shown, pause = (record.state, record.attempt), FIRST_LOOK
                    yield record
                if record.state.final:
                    return
                await listener.change(pause)
                pause = min(pause * 2, LONGEST_LOOK)


def _outcome(record: JobRecord) -> Completion:
    if record.result is not None:
        return record.result
    if record.error is not None:
        raise from_code(record.error.code, record.error.message, param=record.error.param)
    raise Cancelled("the job was cancelled")


def _read(answer: bytes, form: msgspec.json.Decoder[M]) -> M:
    if answer.startswith(b'{"type":"failed"'):
        raise told(_failures.decode(answer))
    return form.decode(answer)


def _explained(error: MeshError) -> MeshError:
    if isinstance(error, NoResponders):
        return NoResponders("nobody takes jobs: no runner is up; start one with `mesh runner`")
    return error
