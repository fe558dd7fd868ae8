"""One execution of a job: claimed, computed, its end written by compare-and-set.

The message that the job is due stays in the stream until all of it is written. Whatever dies in
between, another runner gets the message and finds in the record how far things went.
"""

from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog
from msgspec.structs import replace

from mesh.clock import Clock, monotonic
from mesh.errors import (
    Conflict,
    DeadlineExceeded,
    MeshError,
    NoCapacity,
    PayloadTooLarge,
)
from mesh.jobs import backoff
from mesh.jobs.backoff import Verdict
from mesh.jobs.desk import Desk, Storage, with_notice
from mesh.jobs.destination import Destination
from mesh.jobs.index import OPEN
from mesh.jobs.insist import insist
from mesh.jobs.news import tell
from mesh.jobs.results import storable
from mesh.jobs.settings import JobSettings
from mesh.jobs.slots import as_job
from mesh.jobs.store import Kept
from mesh.jobs.stream_api import SAME_WITHIN
from mesh.jobs.streams import Work, WorkStream
from mesh.router import Router
from schemas.inference import Completion
from schemas.jobs import JobError, JobRecord, JobState

log = structlog.get_logger("mesh.jobs")

ORPHAN_AFTER = 1.5 * SAME_WITHIN
"""Seconds after which a message without a record is thrown away: its submission failed. Longer than
a repetition of it is taken for the same message and not stored again."""


class Superseded(MeshError):
    """The attempt is not the newest any more, or its job has ended."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What executions work with; ``runner``: the name that goes into the records."""

    storage: Storage
    stream: WorkStream
    router: Router
    desk: Desk
    settings: JobSettings
    runner: str
    choose: Callable[[JobRecord], Destination | None]
    clock: Clock = monotonic


class Execution:
    """A message that was pulled, and what is made of it."""

    def __init__(self, bench: Bench, work: Work, dispatched: Callable[[], None]) -> None:
        """``dispatched`` is called once: when the job takes its slot, or turns out to need none."""
        self.work = work
        self._dispatched: Callable[[], None] | None = dispatched
        self._bench = bench
        self._kept: Kept | None = None
        self._computing: anyio.CancelScope | None = None
        self._begun_in_cloud = 0

    async def run(self) -> None:
        """Execute the job as far as its record allows, and settle the message."""
        is_old = self._is_old()
        kept = await (self._find() if is_old else self._read())
        if kept is None:
            self._settle_orphan(is_old=is_old)
            return
        record = kept.record
        if self._is_older_than_message(record):
            self._bench.stream.give_back(self.work, delay=1.0)
        elif record.state.final:
            await self._close(record)
        elif record.state is JobState.RUNNING and self.work.number != record.message:
            # A second one of a repeated submission; the one that is executed stays until the end.
            self._bench.stream.acknowledge(self.work)
        elif record.state is JobState.QUEUED and self.work.pointer.attempt <= record.attempt:
            # The runner that queued it again may have died before it said when.
            await self._bench.desk.publish(record)
            self._bench.stream.acknowledge(self.work)
        else:
            await self._execute(kept)

    async def expire(self) -> None:
        """End the job if it still waits though its deadline has passed; one that runs ends so."""
        kept = await self._find()
        now = self._bench.storage.clock.now_ms()
        deadline = kept.record.deadline_ms if kept else None
        if kept is None or deadline is None or kept.record.state is not JobState.QUEUED:
            if kept is not None and kept.record.state.final:
                await self._bench.desk.announce(kept.record)
            self._bench.stream.acknowledge(self.work)
        elif now < deadline:
            self._bench.stream.give_back(self.work, delay=(deadline - now) / 1000)
        else:
            await self._end(kept, _late(kept.record))

    def _is_older_than_message(self, record: JobRecord) -> bool:
        """Tell whether the message knows more than the record, which a lagging server gave us."""
        ahead = self.work.pointer.attempt - record.attempt
        return ahead > 1 or (ahead == 1 and record.state is JobState.RUNNING)

    def dispatch(self) -> None:
        """Say that the slot meant for this job is taken, or not needed; the first time counts."""
        if self._dispatched is not None:
            self._dispatched()
            self._dispatched = None

    async def check(self) -> None:
        """Stop computing if the record says that somebody else does, or that nobody should."""
        kept, computing = self._kept, self._computing
        if kept is None or computing is None:
            return
        now = await self._bench.storage.store.find(kept.record.tenant, kept.record.id)
        # A server that lags behind shows what was before this attempt.
        if now is None or now.revision > kept.revision:
            computing.cancel()

    async def _read(self) -> Kept | None:
        """Return the record; one that is being written at this moment is waited for."""
        pointer, store = self.work.pointer, self._bench.storage.store
        if fresh := await self._bench.storage.fresh.take(pointer):
            return fresh
        for pause in (0.0, 0.005, 0.05):
            await anyio.sleep(pause)
            kept = await store.peek(pointer.tenant, pointer.id)
            if kept is not None:
                break
        return await self._sure_of(kept)

    async def _sure_of(self, kept: Kept | None) -> Kept | None:
        """Return the record; an end that is of an earlier attempt than the message is looked up.

        The job may have ended while it waited, or have been queued again since.
        """
        if kept is None or not kept.record.state.final:
            return kept
        if kept.record.attempt >= self.work.pointer.attempt:
            return kept
        return await self._bench.storage.store.newest(kept.record.tenant, kept.record.id)

    async def _find(self) -> Kept | None:
        """Return the record, ``None`` if it is certain that there is none."""
        pointer = self.work.pointer
        found = await self._bench.storage.store.find(pointer.tenant, pointer.id)
        return await self._sure_of(found)

    def _is_old(self) -> bool:
        """Tell whether a message that has no record by now will never have one."""
        age = self._bench.storage.clock.now_ms() - self.work.stored_ms
        return age > ORPHAN_AFTER * 1000

    def _settle_orphan(self, *, is_old: bool) -> None:
        if is_old:
            self._bench.stream.acknowledge(self.work)
        else:
            self._bench.stream.give_back(self.work, delay=1.0)

    async def _execute(self, kept: Kept) -> None:
        bench, record = self._bench, kept.record
        now = bench.storage.clock.now_ms()
        if record.deadline_ms is not None and now >= record.deadline_ms:
            await self._end(kept, _late(record))
            return
        if record.state is JobState.RUNNING:
            record = backoff.taken_over(record)
            if record.state.final:
                await self._end(kept, record)
                return
        elif backoff.is_stranded(record):
            await self._end(kept, backoff.given_up(record))
            return
        destination = bench.choose(record)
        if destination is None:
            bench.stream.give_back(self.work, delay=1.0)
            return
        try:
            self._kept = await bench.storage.store.change(kept, self._claimed(record, destination))
        except Conflict:
            bench.stream.give_back(self.work)  # who was faster decides what becomes of it
            return
        tell(bench.storage.bus, self._kept.record, now)
        await self._compute(self._kept, destination)

    def _claimed(self, record: JobRecord, destination: Destination) -> JobRecord:
        return replace(
            record,
            state=JobState.RUNNING,
            attempt=record.attempt + 1,
            runner=self._bench.runner,
            message=self.work.number,
            cloud=destination.reason or record.cloud,
            # It counts from here on: a runner that vanishes has no way to say whether it began.
            cloud_attempts=record.cloud_attempts + (destination.reason is not None),
            started_ms=self._bench.storage.clock.now_ms(),
        )

    async def _compute(self, kept: Kept, destination: Destination) -> None:
        record = kept.record
        try:
            completion = await self._answer(record, destination)
        except Superseded:
            log.info("job.superseded", job=record.id, attempt=record.attempt)
            await self._settle_superseded()
        except MeshError as error:
            log.info("job.attempt_failed", job=record.id, code=str(error.code))
            told = self._recounted(record, destination)
            await self._judged(kept, backoff.judge(told, self._timely(record, error)))
        else:
            told = self._recounted(record, destination)
            done = replace(told, state=JobState.SUCCEEDED, result=completion, error=None)
            await self._end(kept, done)

    def _recounted(self, record: JobRecord, destination: Destination) -> JobRecord:
        """Return the record with the attempts in the cloud that did begin, now that it is known."""
        if destination.reason is None:
            return record
        return replace(record, cloud_attempts=record.cloud_attempts - 1 + self._begun_in_cloud)

    async def _answer(self, record: JobRecord, destination: Destination) -> Completion:
        """Compute in a scope of its own, which ``check`` may cancel."""
        with anyio.CancelScope() as self._computing:
            return await self._complete(record, destination)
        raise Superseded

    async def _complete(self, record: JobRecord, destination: Destination) -> Completion:
        assert record.request is not None, "records are kept with their request"  # noqa: S101
        remaining = self._bench.settings.longest_run * 1000
        if record.deadline_ms is not None:
            remaining = min(remaining, record.deadline_ms - self._bench.storage.clock.now_ms())
        request = as_job(record.request, destination.policy, max(0, int(remaining)))
        async with self._bench.router.open(request) as answer:
            self.dispatch()  # the router takes the slot before it waits for anything
            try:
                return storable(await answer.completion(), self._bench.settings.max_result)
            finally:
                self._begun_in_cloud = answer.cloud_attempts

    def _timely(self, record: JobRecord, error: MeshError) -> MeshError:
        """Tell the job's own deadline, which is final, from that of one execution."""
        now = self._bench.storage.clock.now_ms()
        passed = record.deadline_ms is not None and now >= record.deadline_ms
        if isinstance(error, DeadlineExceeded) and not passed:
            longest = self._bench.settings.longest_run
            return NoCapacity(f"there was no answer within the {longest:g} s of one execution")
        return error

    async def _judged(self, kept: Kept, verdict: Verdict) -> None:
        if verdict.record.state.final:
            await self._end(kept, verdict.record)
            return
        due = self._bench.storage.clock.now_ms() + round(verdict.pause * 1000)
        queued = await self._store(kept, replace(verdict.record, due_ms=due))
        if queued is not None:
            await insist(lambda: self._bench.desk.publish(queued.record), self._bench.clock)
            tell(self._bench.storage.bus, queued.record, due)
            self._bench.stream.acknowledge(self.work)

    async def _end(self, kept: Kept, record: JobRecord) -> None:
        """Write the end of a job, then everything that follows from it."""
        now = self._bench.storage.clock.now_ms()
        record = with_notice(replace(record, ended_ms=now, runner=""))
        ended = await self._store(kept, record)
        if ended is not None:
            tell(self._bench.storage.bus, ended.record, record.ended_ms)
            await insist(lambda: self._bench.storage.store.age_key(ended.record), self._bench.clock)
            await self._close(ended.record)

    async def _store(self, kept: Kept, record: JobRecord) -> Kept | None:
        """Change the record; ``None`` if this attempt is not the newest any more."""
        store, clock = self._bench.storage.store, self._bench.clock
        try:
            return await insist(lambda: store.change(kept, record), clock)
        except Conflict:
            # A write whose acknowledgement was lost is our own.
            now = await insist(lambda: store.newest(record.tenant, record.id), clock)
            if now is not None and now.record == record:
                return now
            log.info("job.fenced", job=record.id, attempt=record.attempt)
            await self._settle_superseded()
            return None
        except PayloadTooLarge as error:
            told = JobError(code=error.code, message="the answer is too large to be stored")
            failed = replace(record, state=JobState.FAILED, result=None, error=told)
            return await insist(lambda: store.change(kept, failed), clock)

    async def _settle_superseded(self) -> None:
        """Leave the message to the attempt that is the newest, unless the job has ended."""
        kept = await insist(self._find, self._bench.clock)
        if kept is None:
            self._bench.stream.acknowledge(self.work)
        elif kept.record.state.final:
            await self._close(kept.record)

    async def _close(self, record: JobRecord) -> None:
        """Announce it, move the row to where ended jobs lie, take the message out, in order."""
        await insist(lambda: self._bench.desk.announce(record), self._bench.clock)
        index = self._bench.storage.index
        index.enter(record, self._bench.settings.retention)
        index.erase(record, OPEN)
        self._bench.stream.acknowledge(self.work)


def _late(record: JobRecord) -> JobRecord:
    error = JobError(code=DeadlineExceeded.code, message="the deadline passed before the job ran")
    return replace(record, state=JobState.FAILED, error=error)
