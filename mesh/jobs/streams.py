"""The work streams: messages that say which job is due, pulled lane by lane.

One stream for each side of the sovereignty boundary, in the account whose runners may read it. A
lane has a durable consumer that all runners share; it is made when it is first needed.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

import msgspec

from mesh import jetstream, subjects
from mesh.bus import Bus
from mesh.errors import BusError, DeadlineExceeded, NoResponders, StoreError
from mesh.exchange import ask
from mesh.inbox import Delivery, Headers
from mesh.jetstream import Reply, checked, read_reply
from mesh.jobs.fairness import Lane
from mesh.jobs.settings import JobSettings
from mesh.subjects import JobSide
from schemas.jobs import JobPointer, Priority
from schemas.wire import UNREADABLE, decoder, encode

FORGET_AFTER = 600.0
"""Seconds after which an unused consumer goes; the messages stay."""
PULL_WITHIN = 2.0
_NS = 1_000_000_000
_ACK_TOKENS = 9
"""Of ``$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<seq>.<time>.<pending>``."""

STREAMS: Mapping[JobSide, str] = {side: f"MESH_JOBS_{side.name}" for side in JobSide}

_pointers = decoder(JobPointer)


class _WorkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Schedules exclude ``discard: new``, so the broker bounds nothing here: the door does."""

    name: str
    subjects: tuple[str, ...]
    num_replicas: int = 1
    retention: str = "workqueue"
    storage: str = "file"
    discard: str = "old"
    allow_msg_schedules: bool = True
    duplicate_window: int = 120 * _NS


class _ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    durable_name: str
    filter_subject: str
    ack_policy: str = "explicit"
    ack_wait: int
    max_deliver: int = -1
    max_ack_pending: int = 10_000
    inactive_threshold: int = round(FORGET_AFTER * _NS)


class _NewConsumer(msgspec.Struct, frozen=True, kw_only=True):
    stream_name: str
    config: _ConsumerConfig


class _Pull(msgspec.Struct, frozen=True, kw_only=True):
    batch: int
    no_wait: bool = True


class _InfoQuery(msgspec.Struct, frozen=True, kw_only=True):
    subjects_filter: str


class _State(msgspec.Struct, frozen=True, kw_only=True):
    messages: int = 0
    subjects: dict[str, int] = {}


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    ts: datetime
    state: _State = _State()


_infos = msgspec.json.Decoder(_Info)


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What lies in a work stream: messages by lane, and those in all, delayed ones included.

    now_ms: the broker's clock when it said so.
    """

    lanes: Mapping[Lane, int]
    total: int
    now_ms: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """A message that was pulled and is this runner's until it is acknowledged or forgotten.

    deliveries: how often it was handed out. stored_ms: when, by the broker's clock.
    """

    pointer: JobPointer
    lane: Lane
    reply: str
    deliveries: int
    stored_ms: int


class _Waiter:
    """Collects what one pull brings."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.found: list[Work] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class WorkStream:
    """The work stream of one side; pulling takes an account that may read it."""

    def __init__(
        self, bus: Bus, side: JobSide, settings: JobSettings, timeout: float = 5.0
    ) -> None:
        self.side, self.name = side, STREAMS[side]
        self._bus, self._settings, self._timeout = bus, settings, timeout
        self._inbox = bus.private(f"pull.{side}")
        self._waiters: dict[str, _Waiter] = {}
        self._lanes: dict[str, Lane] = {}

    async def ensure(self) -> None:
        """Make the stream if it does not exist; raises ``StoreError`` or ``BusError``."""
        config = _WorkConfig(
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
        subject = subjects.job_work(self.side, lane.priority, lane.tenant, lane.model)
        headers = {"Nats-Msg-Id": f"{pointer.tenant}/{pointer.id}/{pointer.attempt}"}
        if due_ms:
            at = datetime.fromtimestamp(due_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            headers |= {"Nats-Schedule": f"@at {at}", "Nats-Schedule-Target": subject}
            subject = subjects.job_later(self.side, pointer.tenant, pointer.id)
        reply = await self._ask(subject, encode(pointer), headers)
        checked(reply, f"the job {pointer.id}")

    async def backlog(self) -> Backlog:
        """Return what lies in the stream."""
        query = msgspec.json.encode(_InfoQuery(subjects_filter=subjects.all_job_work(self.side)))
        subject = subjects.stream_api("STREAM.INFO", self.name)
        payload = (await ask(self._bus, subject, query, timeout=self._timeout)).payload
        checked(read_reply(payload), f"the stream {self.name}")
        info = _infos.decode(payload)
        lanes = ((parse_lane(subject), count) for subject, count in info.state.subjects.items())
        return Backlog(
            lanes={lane: count for lane, count in lanes if lane is not None},
            total=info.state.messages,
            now_ms=int(info.ts.timestamp() * 1000),
        )

    async def pull(self, lane: Lane, batch: int) -> list[Work]:
        """Return up to ``batch`` jobs of a lane that are due now, without waiting for any."""
        consumer = _consumer_name(lane)
        if consumer in self._waiters:
            return []
        self._lanes[consumer] = lane
        waiter = self._waiters[consumer] = _Waiter(batch)
        try:
            await self._pull(lane, consumer, waiter)
        finally:
            del self._waiters[consumer]
        return waiter.found

    def acknowledge(self, work: Work) -> None:
        """Take a message out of the stream (raises as ``Bus.post``, like the next two)."""
        self._bus.post(work.reply, b"+ACK")

    def keep(self, work: Work) -> None:
        """Say that the job is still being worked on."""
        self._bus.post(work.reply, b"+WPI")

    def give_back(self, work: Work, delay: float = 0.0) -> None:
        """Let a message be delivered again, after ``delay`` seconds."""
        self._bus.post(work.reply, b'-NAK {"delay": %d}' % round(delay * _NS))

    async def _pull(self, lane: Lane, consumer: str, waiter: _Waiter) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{consumer}"
        query = msgspec.json.encode(_Pull(batch=waiter.batch))
        for _ in range(2):
            self._bus.post(subject, query, f"{self._inbox}.{consumer}")
            try:
                async with asyncio.timeout(PULL_WITHIN):
                    await waiter.done
            except TimeoutError:
                return  # What still comes is handed back as it arrives.
            except NoResponders:
                await self._make_consumer(lane, consumer)
                waiter.done = asyncio.get_running_loop().create_future()
            else:
                return

    async def _make_consumer(self, lane: Lane, name: str) -> None:
        subject = subjects.job_work(self.side, lane.priority, lane.tenant, lane.model)
        config = _ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subject=subject,
            ack_wait=round(self._settings.lease * _NS),
        )
        query = msgspec.json.encode(_NewConsumer(stream_name=self.name, config=config))
        what = f"{self.name}.{name}.{subject}"
        checked(await self._api("CONSUMER.CREATE", what, query), f"the consumer of {subject}")

    def _on_delivery(self, delivery: Delivery) -> None:
        if "Status" in (delivery.headers or {}):
            self._on_status(delivery)
            return
        tokens = delivery.reply.split(".")
        waiter = self._waiters.get(tokens[3]) if len(tokens) == _ACK_TOKENS else None
        lane = self._lanes.get(tokens[3]) if waiter else None
        try:
            pointer = _pointers.decode(delivery.payload)
        except UNREADABLE:
            self._bus.post(delivery.reply, b"+TERM")
            return
        if waiter is None or lane is None:
            self._bus.post(delivery.reply, b"-NAK")
            return
        waiter.found.append(
            Work(
                pointer=pointer,
                lane=lane,
                reply=delivery.reply,
                deliveries=int(tokens[4]),
                stored_ms=int(tokens[7]) // 1_000_000,
            )
        )
        if len(waiter.found) >= waiter.batch:
            waiter.finish()

    def _on_status(self, delivery: Delivery) -> None:
        """End a pull: nothing more is there, or its consumer is gone."""
        waiter = self._waiters.get(delivery.subject.rpartition(".")[2])
        if waiter is None or waiter.done.done():
            return
        if (delivery.headers or {}).get("Status") == "503":
            waiter.done.set_exception(NoResponders(f"no consumer on {delivery.subject}"))
        else:
            waiter.done.set_result(None)

    async def _api(self, operation: str, what: str, payload: bytes) -> Reply:
        return await self._ask(subjects.stream_api(operation, what), payload)

    async def _ask(self, subject: str, payload: bytes, headers: Headers | None = None) -> Reply:
        try:
            delivery = await ask(
                self._bus, subject, payload, timeout=self._timeout, headers=headers
            )
        except DeadlineExceeded as error:
            raise BusError(f"the stream {self.name}: {error.message}") from None
        except NoResponders:
            raise StoreError(f"the stream {self.name} does not exist: no runner is up") from None
        return read_reply(delivery.payload)


def parse_lane(subject: str) -> Lane | None:
    """Return the lane of a subject of a work stream; ``None`` for what is not due yet."""
    *_, priority, tenant, model = subject.split(".")
    if priority not in set(Priority):
        return None
    return Lane(Priority(priority), subjects.decode_token(tenant), subjects.decode_token(model))


def _consumer_name(lane: Lane) -> str:
    subject = subjects.job_work(JobSide.ANY, lane.priority, lane.tenant, lane.model)
    return blake2b(subject.encode(), digest_size=12).hexdigest()
