"""The work streams: messages that say which job is due, pulled lane by lane.

One stream for each side of the sovereignty boundary, in the account whose runners may read it. A
lane has a durable consumer that all runners share; it is made when it is first needed.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

import msgspec

from mesh import jetstream, subjects
from mesh.bus import Bus
from mesh.errors import BusError, DeadlineExceeded, NoResponders, StoreError
from mesh.exchange import ask
from mesh.inbox import Delivery, Headers
from mesh.jetstream import Reply, SubjectsQuery, checked, read_reply
from mesh.jobs.fairness import Lane
from mesh.jobs.settings import JobSettings
from mesh.jobs.stream_api import (
    NS,
    ConsumerConfig,
    NewConsumer,
    Pull,
    WorkConfig,
    infos,
)
from mesh.subjects import JobSide
from schemas.jobs import JobPointer, Priority
from schemas.wire import UNREADABLE, decoder, encode

PULL_WITHIN = 2.0
MAKE_WITHIN = (0.25, 0.5, 1.0, 2.0)
"""Seconds for which the making of a consumer is waited for before the next pull from it: one that
is there and has no leader at the moment looks like none, and the making of it is never answered."""
_ACK_TOKENS = 9
"""Of ``$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<seq>.<time>.<pending>``."""

STREAMS: Mapping[JobSide, str] = {side: f"MESH_JOBS_{side.name}" for side in JobSide}

_pointers = decoder(JobPointer)


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What lies in a work stream: messages by lane, and those in all, delayed ones included.

    told: tenants with webhooks to be told. now_ms: the broker's clock when it said so.
    """

    lanes: Mapping[Lane, int]
    told: Collection[str]
    total: int
    now_ms: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """A message that was pulled and is this runner's until it is acknowledged or forgotten.

    number: in its stream. stored_ms: when it came there, by the broker's clock.
    """

    pointer: JobPointer
    reply: str
    number: int
    stored_ms: int


class Unanswered(BusError):
    """The broker has not answered, as while a cluster elects a leader; repeat."""


class _Waiter:
    """Collects what one pull brings."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.found: list[Work] = []
        self.begin()

    def begin(self) -> None:
        """Wait for another pull."""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def finish(self, *, found: bool) -> None:
        """End the pull; ``found``: there was a consumer to pull from."""
        if not self.done.done():
            self.done.set_result(found)


class WorkStream:
    """The work stream of one side; pulling takes an account that may read it."""

    def __init__(self, bus: Bus, side: JobSide, settings: JobSettings) -> None:
        self.side, self.name = side, STREAMS[side]
        self._bus, self._settings, self._timeout = bus, settings, settings.answer_within
        self._inbox = bus.private(f"pull.{side}")
        self._waiters: dict[str, _Waiter] = {}

    async def ensure(self) -> None:
        """Make the stream if it does not exist; raises ``StoreError`` or ``BusError``."""
        config = WorkConfig(
            name=self.name,
            subjects=(subjects.all_job_work(self.side),),
            num_replicas=self._settings.replicas,
        )
        reply = await self._api("STREAM.CREATE", self.name, msgspec.json.encode(config))
        if reply.error is None or reply.error.err_code != jetstream.NAME_IN_USE:
            checked(reply, f"the stream {self.name}")

    async def listen(self) -> None:
        """Open the inbox to which pulled messages come."""
        await self._bus.subscribe(f"{self._inbox}.*", self._on_delivery)

    async def publish(self, lane: Lane, pointer: JobPointer, due_ms: int = 0) -> None:
        """Store that a job is due: now, or at a time of the broker's clock.

        Repeating it for the same attempt does no harm. Raises ``StoreFull`` and as ``ensure``.
        """
        target = subjects.job_work(self.side, lane.priority, lane.tenant, lane.model)
        once = {"Nats-Msg-Id": f"{_name(pointer)}/{pointer.attempt}"}
        if due_ms:
            waiting = subjects.job_later(self.side, pointer.tenant, pointer.id)
            await self._store(waiting, pointer, {**once, **_schedule(due_ms, target)})
        else:
            await self._store(target, pointer, once)

    async def publish_deadline(self, pointer: JobPointer, deadline_ms: int) -> None:
        """Store that a job is over at a time, whether it is pulled until then or not."""
        waiting = subjects.job_deadline(self.side, pointer.tenant, pointer.id)
        target = subjects.job_expired(self.side, pointer.tenant, pointer.id)
        await self._store(waiting, pointer, _schedule(deadline_ms, target))

    async def publish_notice(self, pointer: JobPointer, due_ms: int = 0) -> None:
        """Store that a job's webhook is to be told, now or later; as ``publish``."""
        target = subjects.job_notices(self.side, pointer.tenant)
        number = f"{pointer.attempt}/{pointer.telling}"
        once = {"Nats-Msg-Id": f"{subjects.NOTICE}:{_name(pointer)}/{number}"}
        if due_ms:
            waiting = subjects.job_notice_later(self.side, pointer.tenant, pointer.id)
            await self._store(waiting, pointer, {**once, **_schedule(due_ms, target)})
        else:
            await self._store(target, pointer, once)

    async def backlog(self) -> Backlog:
        """Return what lies in the stream."""
        query = msgspec.json.encode(SubjectsQuery(subjects_filter=subjects.all_due_jobs(self.side)))
        subject = subjects.stream_api("STREAM.INFO", self.name)
        payload = (await ask(self._bus, subject, query, timeout=self._timeout)).payload
        checked(read_reply(payload), f"the stream {self.name}")
        info = infos.decode(payload)
        lanes = ((parse_lane(subject), count) for subject, count in info.state.subjects.items())
        told = (parse_notices(subject) for subject in info.state.subjects)
        return Backlog(
            lanes={lane: count for lane, count in lanes if lane is not None},
            told=[tenant for tenant in told if tenant is not None],
            total=info.state.messages,
            now_ms=int(info.ts.timestamp() * 1000),
        )

    async def pull(self, lane: Lane, batch: int) -> list[Work]:
        """Return up to ``batch`` jobs of a lane that are due now, without waiting for any."""
        subject = subjects.job_work(self.side, lane.priority, lane.tenant, lane.model)
        return await self._pull(subject, batch)

    async def pull_notices(self, tenant: str, batch: int) -> list[Work]:
        """Return up to ``batch`` webhooks of a tenant that are to be told now."""
        return await self._pull(subjects.job_notices(self.side, tenant), batch)

    async def pull_expired(self, batch: int) -> list[Work]:
        """Return up to ``batch`` jobs whose deadlines have passed."""
        return await self._pull(subjects.all_expired_jobs(self.side), batch)

    def acknowledge(self, work: Work) -> None:
        """Take a message out of the stream (raises as ``Bus.post``, like the next two)."""
        self._bus.post(work.reply, b"+ACK")

    def keep(self, work: Work) -> None:
        """Say that the job is still being worked on."""
        self._bus.post(work.reply, b"+WPI")

    def give_back(self, work: Work, delay: float = 0.0) -> None:
        """Let a message be delivered again, after ``delay`` seconds."""
        self._bus.post(work.reply, b'-NAK {"delay": %d}' % round(delay * NS))

    async def _pull(self, subject: str, batch: int) -> list[Work]:
        consumer = blake2b(subject.encode(), digest_size=12).hexdigest()
        if consumer in self._waiters:
            return []
        waiter = self._waiters[consumer] = _Waiter(batch)
        try:
            for patience in MAKE_WITHIN:
                if await self._fetch(consumer, waiter):
                    return waiter.found
                with suppress(Unanswered):
                    await self._make_consumer(subject, consumer, patience)
                waiter.begin()
        finally:
            del self._waiters[consumer]
        raise Unanswered(f"nobody leads the consumer of {subject}")

    async def _fetch(self, consumer: str, waiter: _Waiter) -> bool:
        """Pull once; false if there is no such consumer. Raises ``Unanswered``."""
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer}"
        self._bus.post(
            subject,
            msgspec.json.encode(Pull(batch=waiter.batch)),
            f"{self._inbox}.{consumer}",
        )
        # What comes after that is handed back as it arrives.
        try:
            async with asyncio.timeout(PULL_WITHIN):
                return await waiter.done
        except TimeoutError:
            if not waiter.found:
                raise Unanswered(f"no answer to a pull on {subject}") from None
        return True

    async def _make_consumer(self, subject: str, name: str, timeout: float) -> None:
        config = ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subject=subject,
            ack_wait=round(self._settings.lease * NS),
        )
        query = msgspec.json.encode(NewConsumer(stream_name=self.name, config=config))
        what = f"{self.name}.{name}.{subject}"
        reply = await self._api("CONSUMER.CREATE", what, query, timeout)
        checked(reply, f"the consumer of {subject}")

    def _on_delivery(self, delivery: Delivery) -> None:
        if "Status" in (delivery.headers or {}):
            self._on_status(delivery)
            return
        tokens = delivery.reply.split(".")
        waiter = self._waiters.get(tokens[3]) if len(tokens) == _ACK_TOKENS else None
        if waiter is None:
            self._bus.post(delivery.reply, b"-NAK")
            return
        try:
            pointer = _pointers.decode(delivery.payload)
        except UNREADABLE:
            self._bus.post(delivery.reply, b"+TERM")
            return
        waiter.found.append(
            Work(
                pointer=pointer,
                reply=delivery.reply,
                number=int(tokens[5]),
                stored_ms=int(tokens[7]) // 1_000_000,
            )
        )
        if len(waiter.found) >= waiter.batch:
            waiter.finish(found=True)

    def _on_status(self, delivery: Delivery) -> None:
        """End a pull: nothing more is there, or its consumer is gone."""
        waiter = self._waiters.get(delivery.subject.rpartition(".")[2])
        if waiter is not None:
            waiter.finish(found=(delivery.headers or {}).get("Status") != "503")

    async def _store(self, subject: str, pointer: JobPointer, headers: Headers) -> None:
        checked(await self._ask(subject, encode(pointer), headers), f"the job {pointer.id}")

    async def _api(
        self, operation: str, what: str, payload: bytes, timeout: float | None = None
    ) -> Reply:
        return await self._ask(subjects.stream_api(operation, what), payload, timeout=timeout)

    async def _ask(
        self,
        subject: str,
        payload: bytes,
        headers: Headers | None = None,
        timeout: float | None = None,
    ) -> Reply:
        within = self._timeout if timeout is None else timeout
        try:
            delivery = await ask(self._bus, subject, payload, timeout=within, headers=headers)
        except DeadlineExceeded as error:
            raise Unanswered(f"the stream {self.name}: {error.message}") from None
        except NoResponders:
            raise StoreError(f"the stream {self.name} does not exist: no runner is up") from None
        return read_reply(delivery.payload)


def parse_lane(subject: str) -> Lane | None:
    """Return the lane of jobs that are due; ``None`` for one of a priority that is not known."""
    *_, priority, tenant, model = subject.split(".")
    if priority not in set(Priority):
        return None
    return Lane(Priority(priority), subjects.decode_token(tenant), subjects.decode_token(model))


def parse_notices(subject: str) -> str | None:
    """Return whose webhooks these are; ``None`` if it is a lane of jobs."""
    *_, kind, tenant, _ = subject.split(".")
    return subjects.decode_token(tenant) if kind == subjects.NOTICE else None


def _name(pointer: JobPointer) -> str:
    """Return the name of a job that fits into a header, whatever its tenant is called."""
    return f"{subjects.encode_token(pointer.tenant)}/{pointer.id}"


def _schedule(at_ms: int, target: str) -> Headers:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"Nats-Schedule": f"@at {at}", "Nats-Schedule-Target": target}
