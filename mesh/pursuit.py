"""One request on its way to an answer: placed, dispatched, followed, and tried again elsewhere."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Self

import structlog

from mesh.answer import Answer, Output, Route, Tried
from mesh.appraisal import Appraiser
from mesh.attempt import Attempt
from mesh.bus import Bus
from mesh.clock import Clock
from mesh.errors import COSTLESS, MeshError
from mesh.fleet import Fleet
from mesh.journey import Journey
from mesh.lines import Lines, Standing
from mesh.placement import Decision, Dispatch, Fallback, Overflow, Reject, Wait
from mesh.resume import Trail
from mesh.seats import Seat
from mesh.trace import TraceContext
from mesh.tracing import Attributes, Kind, Span, Tracer
from schemas.fleet import Tier
from schemas.frames import Accepted, Beat, Delta, Done, Frame
from schemas.inference import InferRequest

log = structlog.get_logger("mesh.router")


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """What all requests of one router share.

    name: the router's, as workers know it. attempts: those under way. written: tokens of output
    that have come in.
    """

    name: str
    bus: Bus
    fleet: Fleet
    lines: Lines
    appraiser: Appraiser
    tracer: Tracer
    clock: Clock
    attempts: set[Attempt]
    written: Counter[Tier]


class Pursuit:
    """The frames of one answer, as an async iterator that ``aclose`` ends.

    Not a generator: it runs for every request, and the loop would keep a list of them.
    """

    __slots__ = (
        "_answer",
        "_attempt",
        "_begun_in_cloud",
        "_desk",
        "_fallback",
        "_held",
        "_is_over",
        "_journey",
        "_request",
        "_span",
        "_standing",
        "_trail",
    )

    def __init__(self, desk: Desk, answer: Answer, deadline: float) -> None:
        self._desk, self._answer = desk, answer
        self._request = request = answer.request
        demand = desk.appraiser.demand(request, deadline)
        self._journey = Journey(demand, deadline, request.cloud_attempts)
        self._trail = Trail(request)
        self._held: deque[Output] = deque()
        """Of a whole answer everything, since nothing is visible until the end; of a stream the
        end, after the output that came along with it."""
        self._standing: Standing | None = None
        self._attempt: Attempt | None = None
        self._span: Span | None = None
        self._begun_in_cloud = 0
        """Attempts that may have cost something before this one."""
        self._fallback: Fallback | None = None
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        """Return what is new, or a beat; raises the ``MeshError`` that ends the request."""
        while not self._is_over:
            attempt = self._attempt or await self._set_out()
            if attempt is None:
                return Beat(seq=0)  # a second has passed in line
            try:
                frame = await attempt.next()
            except MeshError as error:
                self._try_again(attempt, error)
                continue
            output = self._take(attempt, frame)
            if output is not None:
                return output
        if not self._held:
            raise StopAsyncIteration
        output = self._held.popleft()
        self._answer.more_at_hand = bool(self._held)
        return output

    async def aclose(self) -> None:
        """End whatever is under way."""
        self._is_over = True
        self._held.clear()
        self._leave_line()
        self._end_attempt()

    async def _set_out(self) -> Attempt | None:
        """Return an attempt on the worker that placement names, ``None`` while there is none."""
        decision: Decision | None = Wait()
        try:
            if self._standing is None:
                decision = self._desk.lines.place(self._journey.demand)
            if stands := isinstance(decision, Wait):
                decision = await self._stand()
            if decision is None:
                return None
            return self._dispatch(self._destination(decision), is_reserved=stands)
        except MeshError:
            await self.aclose()
            raise

    async def _stand(self) -> Decision | None:
        """Stand in line for a second, or until there is a decision."""
        standing = self._standing
        if standing is None:
            standing = self._standing = self._desk.lines.join(self._request, self._journey)
        decision = await standing.wait()
        if decision is not None:
            self._standing = None
            standing.take(self._answer)
        return decision

    def _destination(self, decision: Decision) -> Seat:
        match decision:
            case Dispatch(seat):
                self._fallback = None
            case Overflow(seat, reason):
                self._fallback = reason
            case Reject(error):
                raise self._journey.last_error or error
            case Wait():
                raise RuntimeError("a settled request has somewhere to go")
        return seat

    def _dispatch(self, seat: Seat, *, is_reserved: bool) -> Attempt:
        desk, answer = self._desk, self._answer
        assert answer.trace is not None, "it was set at the beginning"  # noqa: S101
        answer.attempts.append(Tried(*seat.node.key))
        self._begun_in_cloud = answer.cloud_attempts
        self._span = span = desk.tracer.span("mesh.attempt", Kind.CLIENT, answer.trace, {})
        attempt = self._attempt = Attempt(desk.bus, desk.fleet, seat, desk.clock)
        desk.attempts.add(attempt)
        attempt.send(
            self._request,
            desk.name,
            self._journey.deadline,
            self._trail.ids,
            span.context.header,
            is_reserved=is_reserved,
        )
        return attempt

    def _take(self, attempt: Attempt, frame: Frame) -> Output | None:
        """Return what the client sees of a frame now."""
        if isinstance(frame, Delta):
            return self._take_delta(attempt, frame)
        if isinstance(frame, Beat):
            return frame
        if isinstance(frame, Accepted):
            self._answer.route = Route(*attempt.seat.node.key, self._fallback)
            self._answer.resumes += self._trail.has_begun
            self._trail.begin(frame.digest)
        elif isinstance(frame, Done):
            self._complete(attempt, frame)
        return None

    def _take_delta(self, attempt: Attempt, delta: Delta) -> Delta | None:
        self._trail.add(delta)
        self._count(attempt.seat, delta)
        if not self._request.stream:
            self._held.append(delta)
            return None
        self._journey.visible = True
        self._answer.more_at_hand = attempt.has_more
        return delta

    def _complete(self, attempt: Attempt, done: Done) -> None:
        self._desk.appraiser.learn(self._request, self._journey.demand, done.usage)
        self._answer.usage = done.usage
        if done.last is not None:
            self._count(attempt.seat, done.last)
            self._held.append(done.last)
        self._held.append(done)
        self._is_over = True
        self._end_attempt()

    def _count(self, seat: Seat, delta: Delta) -> None:
        tokens = len(delta.ids) or 1
        seat.node.written += tokens
        self._desk.written[seat.node.key[0]] += tokens

    def _try_again(self, attempt: Attempt, error: MeshError) -> None:
        """Prepare for the next attempt; raises where there must be none."""
        seat, answer = attempt.seat, self._answer
        self._end_attempt()
        _log_failure(self._request, answer.trace, seat, error)
        if isinstance(error, COSTLESS):
            answer.cloud_attempts = self._begun_in_cloud
        try:
            self._journey.after(error, seat.node, self._trail)
        except MeshError:
            self._is_over = True
            self._held.clear()
            raise
        if not self._journey.demand.digest:
            self._trail = Trail(self._request)
            self._held.clear()

    def _end_attempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None or self._span is None:
            return
        tried = self._answer.attempts[-1]
        tried.outcome = attempt.outcome
        attempt.close()
        self._desk.attempts.discard(attempt)
        span = self._span
        span.end(tried.outcome, _facts(tried, self._request) if span.is_recorded else {})

    def _leave_line(self) -> None:
        standing, self._standing = self._standing, None
        if standing is not None:
            standing.leave(self._answer)


def _facts(tried: Tried, request: InferRequest) -> Attributes:
    """Return what a span tells of an attempt."""
    return {
        "mesh.tier": tried.tier.value,
        "mesh.worker": tried.worker,
        "mesh.request.id": request.id,
        "gen_ai.request.model": request.model,
    }


def _log_failure(
    request: InferRequest, trace: TraceContext | None, seat: Seat, error: MeshError
) -> None:
    log.info(
        "attempt.failed",
        request_id=request.id,
        trace_id=trace.trace_id if trace is not None else None,
        worker=seat.node.key[1],
        code=str(error.code),  # the code alone: an upstream's message may quote the prompt
    )
