"""Where jobs are submitted, looked up and changed by those they belong to."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import structlog
from msgspec.structs import replace

from mesh.bus import Bus
from mesh.errors import BusError, Conflict, InvalidRequest, MeshError, StoreError, StoreFull
from mesh.jobs import states
from mesh.jobs.clock import BrokerClock
from mesh.jobs.door import CheckWebhook, Door, no_webhooks, side_of
from mesh.jobs.fairness import Lane
from mesh.jobs.fresh import Fresh
from mesh.jobs.index import JobIndex, shelf
from mesh.jobs.news import tell
from mesh.jobs.room import Room
from mesh.jobs.settings import JobSettings
from mesh.jobs.store import JobStore, Kept, Unsettled
from mesh.jobs.streams import WorkStream
from mesh.subjects import JobSide
from schemas.jobs import (
    JobKey,
    JobListQuery,
    JobNotice,
    JobPage,
    JobPointer,
    JobQuery,
    JobRecord,
    JobRow,
    JobState,
    Submit,
)
from schemas.wire import encode

log = structlog.get_logger("mesh.jobs")

TRIES = 5
"""Times that a change is tried anew when somebody else was faster."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where everything about jobs lies, over one connection to the broker.

    streams: the sides that this connection may submit to. fresh: what it has just written.
    """

    bus: Bus
    store: JobStore
    index: JobIndex
    streams: dict[JobSide, WorkStream]
    clock: BrokerClock
    room: Room
    fresh: Fresh = field(default_factory=Fresh)


def new_id() -> str:
    """Return an id that no job has."""
    return f"job_{secrets.token_hex(12)}"


def with_notice(record: JobRecord) -> JobRecord:
    """Return a record that ends, owing its webhook the news, if it has one."""
    return replace(record, notice=JobNotice() if record.webhook else None)


def lane_of(record: JobRecord) -> Lane:
    """Return the lane in which a job waits."""
    assert record.request is not None, "records are kept with their request"  # noqa: S101
    return Lane(record.priority, record.tenant, record.request.model)


class Desk:
    """Takes jobs and answers questions about them; every method raises ``MeshError``."""

    def __init__(
        self,
        storage: Storage,
        settings: JobSettings,
        queued: Callable[[JobSide], int],
        stored: Callable[[JobSide, Lane], None],
        check_webhook: CheckWebhook = no_webhooks,
        announced: Callable[[JobSide, str], None] = lambda _side, _tenant: None,
    ) -> None:
        """``queued``: how many jobs are known to wait on a side; ``stored`` hears of new ones.

        ``announced`` hears of tenants with a webhook to be told.
        """
        self._storage, self._settings = storage, settings
        self._stored, self._announced = stored, announced
        self._door = Door(settings, storage.streams, storage.room, queued, check_webhook)

    async def submit(self, order: Submit) -> JobRecord:
        """Store a job and return its record; it survives from then on.

        The same order again returns the job it made. Raises ``Conflict`` for another one under the
        same key or id, ``StoreFull`` if there is no room, ``StoreError`` if the broker answers and
        does not store, and ``InvalidRequest``.
        """
        size = self._door.check(order)
        try:
            return await self._accept(order, size)
        except BusError as error:
            if error.code is not BusError.code or not self._storage.bus.connected:
                raise
            raise StoreError(
                "the broker has not stored the job in time; if that goes on, the disk that it "
                "stores on may be full"
            ) from None

    async def _accept(self, order: Submit, size: int) -> JobRecord:
        digest = _digest(order)
        job = order.id or new_id()
        if order.key:
            wanted = JobKey(id=job, digest=digest)
            job = (await self._storage.store.claim_key(order.tenant, order.key, wanted)).id
        record = self._record(order, job, digest)
        with self._storage.fresh.writing(record, size) as written:
            return await self._keep(record, written)

    async def get(self, query: JobQuery) -> JobRecord:
        """Return a job."""
        record = (await self._storage.store.get(query.tenant, query.id)).record
        return record if query.request else replace(record, request=None)

    async def list(self, query: JobListQuery) -> JobPage:
        """Return some of a tenant's jobs; the rows of open ones say what their records say."""
        page = await self._storage.index.page(query)
        rows = await asyncio.gather(*(self._refined(row) for row in page.jobs))
        kept = (row for row in rows if query.state in (None, row.state))
        return replace(page, jobs=tuple(kept))

    async def cancel(self, query: JobQuery) -> JobRecord:
        """End a job that has not ended; one that was cancelled stays so."""
        now = self._storage.clock.now_ms()

        def end(record: JobRecord) -> JobRecord:
            states.check(record.state, JobState.CANCELLED)
            cancelled = replace(record, state=JobState.CANCELLED, ended_ms=now, runner="")
            return with_notice(cancelled)

        kept = await self._storage.store.get(query.tenant, query.id)
        if kept.record.state is JobState.CANCELLED:
            await self.announce(kept.record)  # whoever cancelled it may have died over it
            return replace(kept.record, request=None)
        return await self._change(query, end)

    async def retry(self, query: JobQuery) -> JobRecord:
        """Queue a failed job again, with as many failures allowed as a new one.

        One that is queued is published once more: whoever retried it may have died over it. Raises
        ``InvalidRequest`` for one that may use the cloud where only edge-only jobs can be stored.
        """
        now = self._storage.clock.now_ms()
        kept = await self._storage.store.get(query.tenant, query.id)
        self._stream_of(kept.record)  # a record that is queued without a message would stay so
        if kept.record.state is JobState.QUEUED:
            await self.publish(kept.record)
            return replace(kept.record, request=None)
        return await self._change(query, lambda record: states.queued_again(record, now))

    async def drop(self, query: JobQuery) -> JobRecord:
        """Forget a job that has ended."""
        kept = await self._storage.store.get(query.tenant, query.id)
        if not kept.record.state.final:
            raise Conflict(f"the job is {kept.record.state}: cancel it first")
        await self._storage.store.drop(kept)
        self._storage.index.erase(kept.record, shelf(kept.record.state))
        return replace(kept.record, request=None)

    def _record(self, order: Submit, job: str, digest: str) -> JobRecord:
        now = self._storage.clock.now_ms()
        return JobRecord(
            id=job,
            tenant=order.tenant,
            state=JobState.QUEUED,
            request=replace(order.request, id=job, tenant=order.tenant, stream=False),
            key=order.key,
            digest=digest,
            priority=order.priority,
            max_failures=self._settings.max_failures,
            created_ms=now,
            due_ms=now + order.not_before_ms if order.not_before_ms else 0,
            deadline_ms=None if order.deadline_ms is None else now + order.deadline_ms,
            webhook=order.webhook,
            note=order.note,
        )

    async def _keep(self, record: JobRecord, written: Callable[[Kept], None]) -> JobRecord:
        """Write the message, then the record: a message without a record is thrown away."""
        storage = self._storage
        await self.publish(record)
        storage.index.enter(record)
        try:
            written(await storage.store.create(record))
        except Conflict:
            return await self._known(record)
        except StoreFull:
            storage.index.erase(record, shelf(record.state))
            raise
        if not record.due_ms and record.request is not None:
            self._stored(side_of(record.request), lane_of(record))
        return replace(record, request=None)

    async def publish(self, record: JobRecord) -> None:
        """Store that a queued job is due, now or at its time; may be repeated."""
        stream = self._stream_of(record)
        pointer = JobPointer(
            tenant=record.tenant,
            id=record.id,
            attempt=record.attempt + 1,
            deadline_ms=record.deadline_ms,
        )
        due = record.due_ms if record.due_ms > self._storage.clock.now_ms() else 0
        await stream.publish(lane_of(record), pointer, due)
        if record.deadline_ms is not None and record.attempt == 0:
            await stream.publish_deadline(pointer, record.deadline_ms)

    def _stream_of(self, record: JobRecord) -> WorkStream:
        """Return where a job is queued; raises ``InvalidRequest`` where this account may not."""
        assert record.request is not None, "records are kept with their request"  # noqa: S101
        stream = self._storage.streams.get(side_of(record.request))
        if stream is None:
            raise InvalidRequest(
                "from here only edge-only jobs are queued again: "
                "this one may use the cloud, so ask with a key that may, too",
                param="id",
            )
        return stream

    async def announce(self, record: JobRecord) -> None:
        """Store that the webhook of a job that has ended is to be told; may be repeated."""
        assert record.request is not None, "records are kept with their request"  # noqa: S101
        side = side_of(record.request)
        stream = self._storage.streams.get(side)
        # Without the stream here: the message that the job was due stays until another has told.
        if record.notice == JobNotice() and stream is not None:
            pointer = JobPointer(
                tenant=record.tenant, id=record.id, attempt=record.attempt, telling=1
            )
            await stream.publish_notice(pointer)
            self._announced(side, record.tenant)

    async def _known(self, record: JobRecord) -> JobRecord:
        """Return the job that was there first, if it is the same."""
        kept = await self._storage.store.newest(record.tenant, record.id)
        if kept is None:
            raise Unsettled
        known = kept.record
        if known.state.final:
            self._storage.index.erase(record, shelf(record.state))
        if known.digest != record.digest:
            raise Conflict("another job has this id", param="id")
        return replace(known, request=None)

    async def _change(self, query: JobQuery, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        storage = self._storage
        kept: Kept | None = await storage.store.get(query.tenant, query.id)
        for _ in range(TRIES):
            if kept is None:
                break
            record = change(kept.record)
            try:
                await storage.store.change(kept, record)
            except Conflict:
                kept = await storage.store.newest(query.tenant, query.id)
                continue
            await self._follow_up(kept.record, record)
            return replace(record, request=None)
        raise Conflict("the job changes too fast; retry")

    async def _follow_up(self, old: JobRecord, new: JobRecord) -> None:
        storage = self._storage
        if new.state is JobState.QUEUED:
            await self.publish(new)
        ttl = self._settings.retention if new.state.final else None
        storage.index.enter(new, ttl)
        if shelf(old.state) != shelf(new.state):
            storage.index.erase(old, shelf(old.state))
        tell(storage.bus, new, storage.clock.now_ms())
        if new.state.final:
            await storage.store.age_key(new)
            await self.announce(new)

    async def _refined(self, row: JobRow) -> JobRow:
        if row.state.final:
            return row
        try:
            kept = await self._storage.store.peek(row.tenant, row.id)
        except MeshError:
            return row
        return row if kept is None else replace(row, state=kept.record.state)


def _digest(order: Submit) -> str:
    """Return what makes two orders the same, whatever ids their senders gave them."""
    same = replace(order, id="", key="", request=replace(order.request, id=""))
    return blake2b(encode(same), digest_size=16).hexdigest()
