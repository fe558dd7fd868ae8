"""One try of one request on one worker: dispatch, frames in order, loss, cancel.

Every attempt has its own inbox. Once it is closed, whatever its worker still sends lands nowhere,
so a frozen worker that thaws cannot disturb the attempt that replaced it (fencing).
"""

import asyncio
from collections import deque
from typing import Self

from mesh import subjects
from mesh.answer import CANCELLED, OK
from mesh.bus import Bus
from mesh.clock import Clock, remaining_ms
from mesh.errors import (
    BusError,
    BusUnavailable,
    Busy,
    Cancelled,
    DeadlineExceeded,
    LineLost,
    MeshError,
    Refused,
    WorkerLost,
    from_code,
)
from mesh.fleet import Fleet
from mesh.inbox import Delivery, Status, raise_for_status
from mesh.seats import Node, Room, Seat
from schemas.fleet import UNKNOWN
from schemas.frames import Accepted, Beat, Delta, Done, Failed, Frame, decode_frame
from schemas.inference import Cancel, Dispatch, InferRequest, Urgency
from schemas.wire import UNREADABLE, encode

ACCEPT_WITHIN = 0.3
"""Seconds in which a worker answers a dispatch; later it counts as unresponsive."""
LOST_AFTER = 3.5
"""Seconds without a frame after which a worker counts as lost: three missed beats."""
MISSES = 2
"""Messages in a row that found nobody on a worker's subject, after which it has died."""
MAX_UNREAD = 8192
"""Frames kept for a client that does not read."""
MAX_UNREAD_BYTES = 4 * 1024 * 1024
"""And their size on the wire: a fast worker puts very much into one frame."""
OVERTIME = 0.25
"""Seconds past the deadline that a worker gets to report it itself."""


class Unanswered(Refused):
    """The worker did not answer the dispatch in time."""


class Attempt:
    """A context manager around one dispatch; iterate with ``next`` until ``Done`` or an error."""

    def __init__(self, bus: Bus, fleet: Fleet, seat: Seat, clock: Clock) -> None:
        self.seat = seat
        self._bus, self._fleet, self._clock = bus, fleet, clock
        self._inbox = bus.open_inbox(self._on_delivery)
        self._frames: deque[Frame] = deque()
        self._unread = 0
        """Bytes since the frames were last all read."""
        self._failure: MeshError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._next_seq = 0
        self._heard_at = self._deadline = clock()
        self._incarnation = seat.node.advert.incarnation
        self._urgency = Urgency.INTERACTIVE
        self._answered = False
        self._over = False
        self._disturbed = False
        """Our own connection broke meanwhile, so what is missing is not the worker's fault."""

    def send(
        self,
        request: InferRequest,
        router: str,
        deadline: float,
        emitted: tuple[int, ...] = (),
        traceparent: str = "",
        *,
        is_reserved: bool = False,
    ) -> None:
        """Dispatch the request; what comes of it shows in ``next``.

        is_reserved: the seat expects it already, because it was given to somebody in line.
        """
        now = self._clock()
        dispatch = Dispatch(
            attempt=self._inbox.token + router,
            incarnation=self._incarnation,
            router=router,
            remaining_ms=remaining_ms(deadline, now),
            request=request,
            emitted=emitted,
            traceparent=traceparent,
        )
        self._id = dispatch.attempt
        self._deadline = deadline
        self._heard_at = now
        self._urgency = request.urgency
        if not is_reserved:
            self.seat.expect(self._urgency)
        tier, worker = self.seat.node.key
        try:
            self._inbox.ask(subjects.work(tier, worker, "infer"), encode(dispatch))
        except MeshError as error:
            self._fail(error)

    async def next(self) -> Frame:
        """Return the next frame; raises the ``MeshError`` that ended the attempt."""
        while not self._frames:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frame = self._frames.popleft()
        if not self._frames:
            self._unread = 0
        return frame

    @property
    def has_more(self) -> bool:
        """Whether ``next`` has a frame at once."""
        return bool(self._frames)

    @property
    def outcome(self) -> str:
        """How it ended; one that is closed before its end is no longer wanted."""
        if self._failure is not None:
            return self._failure.code.value
        return OK if self._over else CANCELLED

    def renew(self, lease: bytes) -> None:
        """Tell the worker that its router lives; the broker replies if the worker does not."""
        try:
            self._inbox.ask(subjects.work(*self.seat.node.key, "lease"), lease)
        except BusUnavailable:
            return  # The broken connection shows elsewhere.

    def check(self, now: float) -> None:
        """Look at the time: unanswered, silent for too long, or past the deadline."""
        silent = now - self._heard_at
        if self._over:
            return
        if now > self._deadline + OVERTIME:
            self._fail(DeadlineExceeded())
        elif self.seat.node.advert.incarnation != self._incarnation:
            self._fail(WorkerLost(f"worker {self.seat.node.key[1]} was started anew"))
        elif not self._answered and min(silent, now - self.seat.node.answered_at) > ACCEPT_WITHIN:
            self.seat.node.suspect = True
            self._fail(Unanswered(f"worker {self.seat.node.key[1]} did not answer"))
        elif self._answered and self.seat.node.is_gone:
            self._fail(self._lost(f"worker {self.seat.node.key[1]} has gone"))
        elif silent > LOST_AFTER:
            self._fail(self._lost(f"worker {self.seat.node.key[1]} fell silent"))

    def excuse_silence(self, seconds: float) -> None:
        """Do not count time in which this process itself stood still."""
        self._heard_at = min(self._heard_at + seconds, self._clock())

    def close(self) -> None:
        """Free the worker's slot if it still computes, and let late frames land nowhere."""
        self._answer()
        if not self._over:
            self._over = True
            self._cancel()
        self._inbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cancel(self) -> None:
        tier, worker = self.seat.node.key
        try:
            self._bus.post(subjects.work(tier, worker, "cancel"), encode(Cancel(attempt=self._id)))
        except BusUnavailable:
            # The worker stops by itself when this router's leases run out.
            return

    def _on_delivery(self, delivery: Delivery) -> None:
        if self._over or self._failure is not None:
            return  # Nothing may follow what was lost.
        if delivery.status is not Status.MESSAGE:
            self._on_trouble(delivery)
            return
        self._heard_at = self.seat.node.answered_at = self._clock()
        self.seat.node.misses = 0
        try:
            frame = decode_frame(delivery.payload)
        except UNREADABLE:
            self._fail(WorkerLost(f"worker {self.seat.node.key[1]} sent a malformed frame"))
            return
        if frame.seq < self._next_seq:
            return
        if frame.seq > self._next_seq:
            self._fail(self._lost(f"frames of worker {self.seat.node.key[1]} were lost"))
            return
        self._next_seq += 1
        self._unread += len(delivery.payload)
        self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame:
            case Accepted(slots_free=free, slots_idle=idle) if not self._answered:
                self._answered = True
                self._fleet.answered(self.seat, self._urgency, Room(free, idle))
            case Failed():
                self._over = True
                self._answer()
                self._count_room(frame)
                self._fail(_error_of(frame))
                return
            case Done(slots_free=free, slots_idle=idle):
                self._over = True
                self._fleet.room(self.seat, Room(free, idle))
            case Accepted() | Delta() | Beat():
                pass
        if len(self._frames) >= MAX_UNREAD or (self._frames and self._unread > MAX_UNREAD_BYTES):
            self._over = True
            self._cancel()  # now: whoever reads so slowly may not come to close this for long
            self._fail(Cancelled("the client reads too slowly"))
            return
        self._frames.append(frame)
        self._wake()

    def _count_room(self, frame: Failed) -> None:
        room = Room(frame.slots_free, frame.slots_idle)
        if room.free == UNKNOWN and isinstance(_error_of(frame), Busy):
            # Full for background requests does not mean full for all.
            room = Room(0, 0) if self._urgency is Urgency.INTERACTIVE else Room(idle=0)
        self._fleet.room(self.seat, room)

    def _on_trouble(self, delivery: Delivery) -> None:
        if delivery.status is Status.DISCONNECTED and self._answered:
            self._disturbed = True
            return  # The stream goes on after a quick reconnect, or a gap or silence ends it.
        if delivery.status is Status.NO_RESPONDERS:
            self._miss(self.seat.node)
            if self._answered:
                return
        try:
            raise_for_status(delivery, subjects.work(*self.seat.node.key, "infer"))
        except BusError as error:
            self._fail(error)

    def _miss(self, node: Node) -> None:
        """Note that nobody listened; a worker whose connection broke may be back by the next."""
        node.misses += 1
        if not self._answered or node.misses >= MISSES:
            self._fleet.drop(node)
        if node.misses >= MISSES:
            node.is_gone = True
            self.check(self._clock())

    def _lost(self, message: str) -> MeshError:
        return LineLost() if self._disturbed else WorkerLost(message)

    def _answer(self) -> None:
        if not self._answered:
            self._answered = True
            self.seat.settle(self._urgency)

    def _fail(self, error: MeshError) -> None:
        if self._failure is None:
            self._failure = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _error_of(frame: Failed) -> MeshError:
    retry_after = None if frame.retry_after_ms is None else frame.retry_after_ms / 1000
    return from_code(frame.code, frame.message, param=frame.param, retry_after=retry_after)
