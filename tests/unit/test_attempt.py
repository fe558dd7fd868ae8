"""One attempt's view of its frames and of the time, without a line in between."""

from typing import cast

import pytest

from mesh import errors
from mesh.attempt import ACCEPT_WITHIN, LOST_AFTER, MAX_UNREAD, MAX_UNREAD_BYTES, OVERTIME, Attempt
from mesh.bus import Bus
from mesh.fleet import Fleet
from mesh.inbox import Delivery, Handler, Headers, Inbox, Status
from schemas.failures import FailureCode
from schemas.fleet import Tier
from schemas.frames import Accepted, Beat, Delta, Done, Failed, Frame, encode_frame
from schemas.inference import Usage
from tests.support.fleets import FakeClock, advert, fleet_of, model
from tests.support.requests import chat


class Line:
    """Stands for the connection: keeps what is posted and hands over what the test delivers."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.handlers: list[Handler] = []

    def open_inbox(self, handler: Handler) -> Inbox:
        self.handlers.append(handler)
        return Inbox(self, "t", "_INBOX_gateway.t", handler)

    def post(
        self, subject: str, payload: bytes, reply: str = "", headers: Headers | None = None
    ) -> None:
        self.posted.append(subject)

    def drop_inbox(self, token: str) -> None: ...


class Try:
    """A dispatched attempt, with its clock and fleet."""

    def __init__(self) -> None:
        self.clock, self.line = FakeClock(), Line()
        self.fleet: Fleet = fleet_of(advert("w", model(slots=2)), clock=self.clock)
        self.seat = self.fleet.seats("m", Tier.EDGE)[0]
        self.attempt = self.another()

    def another(self) -> Attempt:
        attempt = Attempt(cast("Bus", self.line), self.fleet, self.seat, self.clock)
        attempt.send(chat(model="m"), "r1", self.clock() + 60)
        return attempt

    def hear(self, *frames: Frame, number: int = 0) -> None:
        for frame in frames:
            self.line.handlers[number](Delivery("t", encode_frame(frame)))

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.attempt.check(self.clock())

    @property
    def cancelled(self) -> bool:
        return "mesh.v1.edge.work.w.cancel" in self.line.posted


ACCEPTED = Accepted(seq=0, worker="w", slots_free=1)
DONE = Done(seq=1, finish_reason="stop", usage=Usage(), slots_free=2)


async def test_an_attempt_tells_whether_the_next_frame_is_there() -> None:
    """Whoever writes frames on can let them share a write, without waiting for any."""
    trial = Try()
    trial.hear(ACCEPTED, Delta(seq=1, text="a"), Delta(seq=2, text="b"))
    told = [(await trial.attempt.next(), trial.attempt.has_more)[1] for _ in range(3)]
    assert told == [True, True, False]


async def test_frames_come_in_order_and_counts_follow() -> None:
    """The seat is pending until the answer, and frames carry the worker's own count."""
    trial = Try()
    assert (trial.seat.pending, trial.seat.free) == (1, 1)
    trial.hear(ACCEPTED)
    assert (trial.seat.pending, trial.seat.free) == (0, 1)
    trial.hear(DONE)
    assert trial.seat.free == 2
    assert [await trial.attempt.next(), await trial.attempt.next()] == [ACCEPTED, DONE]
    trial.attempt.close()
    assert not trial.cancelled


async def test_a_gap_loses_the_attempt() -> None:
    """A missing number means a missing frame; what came before it still counts."""
    trial = Try()
    trial.hear(ACCEPTED, Delta(seq=2, text="late"))
    assert await trial.attempt.next() == ACCEPTED
    with pytest.raises(errors.WorkerLost):
        await trial.attempt.next()
    trial.attempt.close()
    assert trial.cancelled


async def test_a_repeated_frame_is_dropped() -> None:
    """A frame that comes twice counts once."""
    trial = Try()
    trial.hear(ACCEPTED, ACCEPTED, DONE)
    assert [await trial.attempt.next(), await trial.attempt.next()] == [ACCEPTED, DONE]


async def test_garbage_loses_the_attempt() -> None:
    """What is no frame ends the attempt."""
    trial = Try()
    trial.line.handlers[0](Delivery("t", b"\xff"))
    with pytest.raises(errors.WorkerLost):
        await trial.attempt.next()


async def test_an_unanswered_dispatch_makes_the_worker_suspect() -> None:
    """Silence after a dispatch is a refusal that costs no attempt."""
    trial = Try()
    trial.wait(ACCEPT_WITHIN + 0.01)
    with pytest.raises(errors.Refused):
        await trial.attempt.next()
    assert trial.seat.node.suspect


async def test_a_worker_that_answers_others_is_only_busy() -> None:
    """In a burst the answer may take longer, as long as the worker answers at all."""
    trial = Try()
    trial.another()
    trial.clock.now += ACCEPT_WITHIN
    trial.hear(ACCEPTED, number=1)
    trial.wait(0.01)
    assert not trial.seat.node.suspect


async def test_beats_keep_an_attempt_alive() -> None:
    """Three missed beats lose it, one that comes in time does not."""
    trial = Try()
    trial.hear(ACCEPTED)
    trial.wait(LOST_AFTER - 0.1)
    trial.hear(Beat(seq=1))
    trial.wait(LOST_AFTER - 0.1)
    assert [await trial.attempt.next(), await trial.attempt.next()] == [ACCEPTED, Beat(seq=1)]
    trial.wait(0.2)
    with pytest.raises(errors.WorkerLost):
        await trial.attempt.next()


async def test_an_excused_silence_does_not_count() -> None:
    """After this process itself stood still, the worker gets its time again."""
    trial = Try()
    trial.hear(ACCEPTED)
    trial.clock.now += 60
    trial.attempt.excuse_silence(60)
    trial.wait(LOST_AFTER - 61)
    assert await trial.attempt.next() == ACCEPTED


async def test_the_deadline_ends_an_attempt() -> None:
    """A worker that does not report the deadline itself is cancelled."""
    trial = Try()
    trial.hear(ACCEPTED)
    for _ in range(60):
        trial.clock.now += 1
        trial.attempt.excuse_silence(1)
    trial.wait(OVERTIME + 0.01)
    await trial.attempt.next()
    with pytest.raises(errors.DeadlineExceeded):
        await trial.attempt.next()
    trial.attempt.close()
    assert trial.cancelled


async def test_a_refusal_tells_the_room() -> None:
    """A busy worker's answer corrects the count."""
    trial = Try()
    trial.hear(Failed(seq=0, code=FailureCode.BUSY, message="full", slots_free=0))
    with pytest.raises(errors.Busy):
        await trial.attempt.next()
    assert trial.seat.free == 0
    trial.attempt.close()
    assert not trial.cancelled


async def test_nobody_there_removes_the_worker() -> None:
    """The broker's word that nobody listens beats any advert."""
    trial = Try()
    trial.line.handlers[0](Delivery("t", status=Status.NO_RESPONDERS))
    with pytest.raises(errors.NoResponders):
        await trial.attempt.next()
    assert trial.fleet.nodes() == []


async def test_a_worker_that_misses_two_leases_is_lost_with_all_its_attempts() -> None:
    """The broker says at once that nobody listens; one miss may be a short reconnect."""
    trial = Try()
    other = trial.another()
    trial.hear(ACCEPTED)
    trial.hear(ACCEPTED, number=1)
    for attempt in (trial.attempt, other):
        assert await attempt.next() == ACCEPTED
        attempt.renew(b"{}")

    nobody = Delivery("t", status=Status.NO_RESPONDERS)
    trial.line.handlers[0](nobody)
    trial.wait(0.1)
    trial.hear(Beat(seq=1))
    assert await trial.attempt.next() == Beat(seq=1)
    trial.line.handlers[0](nobody)
    trial.wait(0.1)
    trial.line.handlers[0](nobody)
    other.check(trial.clock())
    for attempt in (trial.attempt, other):
        with pytest.raises(errors.WorkerLost):
            await attempt.next()
    assert trial.fleet.nodes() == []


async def test_a_lost_line_ends_only_what_was_not_answered() -> None:
    """A stream outlives a quick reconnect, a dispatch on its way does not."""
    trial = Try()
    trial.another()
    trial.hear(ACCEPTED)
    for handler in trial.line.handlers:
        handler(Delivery("t", status=Status.DISCONNECTED))
    trial.hear(DONE)
    assert [await trial.attempt.next(), await trial.attempt.next()] == [ACCEPTED, DONE]


async def test_nothing_follows_what_was_lost() -> None:
    """A reader who fell behind gets a clean beginning and the error, never a text with a hole."""
    trial = Try()
    trial.hear(ACCEPTED, *(Delta(seq=1 + n, text="x") for n in range(MAX_UNREAD)))
    assert await trial.attempt.next() == ACCEPTED
    trial.hear(Delta(seq=1 + MAX_UNREAD, text="after the hole"))
    for _ in range(MAX_UNREAD - 1):
        await trial.attempt.next()
    with pytest.raises(errors.Cancelled):
        await trial.attempt.next()


async def test_the_bytes_that_are_kept_are_bounded_too() -> None:
    """A few enormous frames that nobody reads end the attempt; read in time they do not."""
    trial, text = Try(), "x" * (MAX_UNREAD_BYTES // 4)
    trial.hear(ACCEPTED)
    await trial.attempt.next()
    for seq in range(1, 10):
        trial.hear(Delta(seq=seq, text=text))
        await trial.attempt.next()
    trial.hear(*(Delta(seq=10 + n, text=text) for n in range(5)))
    for _ in range(3):
        await trial.attempt.next()
    with pytest.raises(errors.Cancelled):
        await trial.attempt.next()


async def test_frames_lost_with_our_own_line_do_not_blame_the_worker() -> None:
    """A gap after a reconnect is told apart from a gap of the worker's making."""
    trial = Try()
    trial.hear(ACCEPTED)
    trial.line.handlers[0](Delivery("t", status=Status.DISCONNECTED))
    trial.hear(Delta(seq=2, text="late"))
    assert await trial.attempt.next() == ACCEPTED
    with pytest.raises(errors.LineLost):
        await trial.attempt.next()


async def test_a_worker_started_anew_has_forgotten_its_attempts() -> None:
    """A new incarnation ends the attempts of the old one at once."""
    trial = Try()
    trial.hear(ACCEPTED)
    trial.fleet.update(advert("w", model(slots=2), incarnation="i2"))
    trial.wait(0.1)
    assert await trial.attempt.next() == ACCEPTED
    with pytest.raises(errors.WorkerLost, match="anew"):
        await trial.attempt.next()
