"""The router: turns placement decisions into attempts, and attempts into an answer.

It runs inside the gateway and inside the Python client. A request that finds no free slot waits
here, in a bounded line per model, where it can still be moved, cancelled or timed out; deep queues
inside workers would be stranded with them.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

import anyio
import structlog
from anyio.abc import TaskStatus

from mesh import admission, estimate
from mesh.answer import Answer, Output, Route, Tried
from mesh.attempt import Attempt
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.demand import Demand, Line
from mesh.errors import COSTLESS, MeshError, NoCapacity
from mesh.estimate import ModelHistory
from mesh.fleet import Fleet
from mesh.journey import Journey
from mesh.placement import (
    Decision,
    Dispatch,
    Fallback,
    Limits,
    Overflow,
    Reject,
    Wait,
    place,
)
from mesh.prefix import prefixes
from mesh.prospects import Prospects
from mesh.resume import Trail
from mesh.seats import Seat
from mesh.trace import TraceContext
from mesh.tracing import Attributes, Kind, Tracer, Unrecorded
from mesh.waiting import WaitingLine
from schemas.fleet import Tier
from schemas.frames import Accepted, Beat, Delta, Done
from schemas.inference import Ability, InferRequest, Lease, Task, Urgency
from schemas.wire import encode

log = structlog.get_logger("mesh.router")

TICK = 0.1
"""Seconds between looks at the attempts' clocks."""
LEASE_EVERY = 0.5
"""Seconds between leases; a worker drops attempts of a router unheard of for 2 s."""
LONGEST_DEADLINE = 870.0
"""Seconds; the broker lets a worker answer for 900 (``BrokerSettings.longest_answer``)."""
LOOK_AHEAD = 16
"""How many of those in line are looked at for a free slot; everyone looks again every second."""
MOST_TOKENS = 1 << 24
"""Tokens of output that an estimate reckons with; a client's integer may be of any size."""
TURNS = (Urgency.INTERACTIVE, Urgency.BACKGROUND)
"""Whose line is served first."""
STALLED_AFTER = 0.1
"""A tick this late means that this process stood still: silence proves nothing then."""


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """How long requests may take and wait.

    default_deadline: seconds for requests that name none. wait_share: share of its deadline that a
    request waits for the edge before the cloud is asked, at most max_wait seconds.
    """

    default_deadline: float = 300.0
    wait_share: float = 0.25
    max_wait: float = 5.0
    limits: Limits = field(default_factory=Limits)


class _Ticket:
    """A request in line, and the seat it is given."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.decision: Decision | None = None
        self._taken = False
        self._bell: asyncio.Future[None] | None = None

    async def settled(self, within: float) -> Decision | None:
        """Return the decision once there is one, ``None`` if that takes too many seconds."""
        if self.decision is None:
            loop = asyncio.get_running_loop()
            self._bell = loop.create_future()
            alarm = loop.call_later(max(0.0, within), self._ring)
            try:
                await self._bell
            finally:
                alarm.cancel()
        return self.decision

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def settle(self, decision: Decision) -> None:
        """Reserve the seat until the dispatch itself counts."""
        if isinstance(decision, Dispatch | Overflow):
            decision.seat.expect(self.demand.urgency)
        self.decision = decision
        self._ring()

    def take(self, decision: Decision) -> Decision:
        """End the reservation; the caller dispatches in the same breath."""
        self.give_back()
        self._taken = True
        return decision

    def give_back(self) -> bool:
        """End the reservation of a seat that was not taken; tells whether there was one."""
        decision = self.decision
        if self._taken or not isinstance(decision, Dispatch | Overflow):
            return False
        decision.seat.settle(self.demand.urgency)
        return True


class Router:
    """Answers requests with the workers of a fleet."""

    def __init__(
        self,
        bus: Bus,
        fleet: Fleet,
        settings: RouterSettings | None = None,
        clock: Clock = monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        self._bus, self._fleet, self._clock = bus, fleet, clock
        self._settings = settings or RouterSettings()
        self._tracer = tracer or Unrecorded()
        self._incarnation = f"r{random.getrandbits(64):016x}"
        self._lines: dict[tuple[str, Urgency], WaitingLine[_Ticket]] = {}
        self._histories: dict[str, ModelHistory] = {}
        self._prospects = Prospects(fleet)
        self._attempts: set[Attempt] = set()
        self.written: Counter[Tier] = Counter()
        """Tokens of output that have come in; a piece of an upstream's counts as one."""
        fleet.on_change(self._serve_line)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow the fleet and look after running attempts until cancelled."""
        await self._fleet.watch(self._bus)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            tasks.start_soon(self._renew_leases)
            task_status.started()

    def open(self, request: InferRequest) -> Answer:
        """Return the answer to a request, which begins inside the answer's context.

        Raises ``InvalidRequest`` for one that gives nothing to compute.
        """
        admission.check(request)
        answer = Answer(request)
        answer.attach(self._frames(request, answer))
        return answer

    def waiting(self, model: str) -> int:
        """Return how many requests stand in line for a model."""
        return sum(self._waiting(model, urgency) for urgency in Urgency)

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts)

    async def _frames(self, request: InferRequest, answer: Answer) -> AsyncGenerator[Output, None]:
        journey, trail = self._begin(request), Trail(request)
        answer.trace = TraceContext.parse(request.traceparent) or TraceContext.new()
        # Without a stream nothing is visible until the end.
        held: list[Delta] = []
        while True:
            decision = self._place(journey.demand)
            if isinstance(decision, Wait):
                with self._line_up(request, journey, answer) as ticket:
                    while (settled := await self._stand(ticket, journey)) is None:
                        yield Beat(seq=0)
                    decision = ticket.take(settled)
            seat, fallback = _destination(decision, journey)
            begun = answer.cloud_attempts
            with self._attempt(seat, answer, journey, trail) as attempt:
                try:
                    while True:
                        frame = await attempt.next()
                        if isinstance(frame, Accepted):
                            answer.route = Route(*seat.node.key, fallback)
                            answer.resumes += bool(trail.ids)
                            trail.begin(frame.digest)
                        elif isinstance(frame, Done):
                            self._learn(request, frame)
                            answer.usage = frame.usage
                            for delta in held:
                                yield delta
                            if frame.last is not None:
                                self._count(seat, frame.last)
                                answer.more_at_hand = True
                                yield frame.last
                                answer.more_at_hand = False
                            yield frame
                            return
                        elif isinstance(frame, Delta):
                            trail.add(frame)
                            self._count(seat, frame)
                            if request.stream:
                                journey.visible = True
                                answer.more_at_hand = attempt.has_more
                                yield frame
                            else:
                                held.append(frame)
                        elif isinstance(frame, Beat):
                            yield frame
                except MeshError as error:
                    _log_failure(request, answer.trace, seat, error)
                    if isinstance(error, COSTLESS):
                        answer.cloud_attempts = begun
                    journey.after(error, seat.node, trail)
                    if not journey.demand.digest:
                        trail = Trail(request)
                        held.clear()

    def _begin(self, request: InferRequest) -> Journey:
        seconds = min(self._settings.default_deadline, LONGEST_DEADLINE)
        if request.deadline_ms is not None:
            # Limited before the division: a client's integer may be too large for a float.
            seconds = max(0, min(request.deadline_ms, int(LONGEST_DEADLINE * 1000))) / 1000
        deadline = self._clock() + seconds
        history = self._history(request.model)
        output = history.output_tokens() if request.max_tokens is None else request.max_tokens
        demand = Demand(
            model=request.model,
            policy=request.policy,
            prompt_tokens=history.prompt_tokens(
                estimate.prompt_chars(request), len(request.messages)
            ),
            output_tokens=max(0, min(output, MOST_TOKENS)),
            deadline=deadline,
            urgency=request.urgency,
            useful_tokens=1 if request.stream else min(history.usual_tokens(), max(0, output)),
            needs=_needs(request),
            # A worker checks inputs one by one, and exactly: it can name the one that is too long.
            context_tokens=None if request.task is Task.GENERATE else 0,
        )
        if self._fleet.group(request.model, Tier.EDGE).holders:
            demand.prefixes = prefixes(request)
        return Journey(demand, deadline, request.cloud_attempts)

    def _waiting(self, model: str, urgency: Urgency) -> int:
        return len(self._lines.get((model, urgency), ()))

    def _place(self, demand: Demand) -> Decision:
        waiting = self._waiting(demand.model, Urgency.INTERACTIVE)
        if demand.urgency is Urgency.BACKGROUND:
            waiting = self.waiting(demand.model)
        return place(demand, self._fleet, self._clock(), waiting, self._settings.limits)

    @contextmanager
    def _attempt(
        self, seat: Seat, answer: Answer, journey: Journey, trail: Trail
    ) -> Iterator[Attempt]:
        tried = Tried(*seat.node.key)
        answer.attempts.append(tried)
        span = self._tracer.span("mesh.attempt", Kind.CLIENT, answer.trace, {})
        with Attempt(self._bus, self._fleet, seat, self._clock) as attempt:
            self._attempts.add(attempt)
            try:
                attempt.send(
                    answer.request,
                    self._incarnation,
                    journey.deadline,
                    trail.ids,
                    span.context.header,
                )
                yield attempt
            finally:
                self._attempts.discard(attempt)
                tried.outcome = attempt.outcome
                span.end(tried.outcome, _facts(tried, answer) if span.is_recorded else {})

    def _count(self, seat: Seat, delta: Delta) -> None:
        tokens = len(delta.ids) or 1
        seat.node.written += tokens
        self.written[seat.node.key[0]] += tokens

    @contextmanager
    def _line_up(
        self, request: InferRequest, journey: Journey, answer: Answer
    ) -> Iterator[_Ticket]:
        """Stand in line; a seat that was given but not taken goes to the next."""
        demand, began = journey.demand, self._clock()
        key = request.model, request.urgency
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = WaitingLine()
            self._prospects.formed(demand, began)
        elif demand.line is Line.ARRIVING:
            self._prospects.check(demand, line.ahead(request.tenant, demand.deadline), began)
        journey.begin_wait(began, self._settings.wait_share, self._settings.max_wait)
        ticket = _Ticket(demand)
        line.add(ticket, request.tenant, journey.deadline)
        try:
            yield ticket
        finally:
            answer.waited += self._clock() - began
            line.remove(ticket)
            if not line and self._lines.get(key) is line:
                del self._lines[key]
            if ticket.give_back():
                self._serve_line(request.model)

    async def _stand(self, ticket: _Ticket, journey: Journey) -> Decision | None:
        """Wait a second at most for a decision; raises when the time to wait is over."""
        now = self._clock()
        demand = journey.demand
        if now >= journey.deadline:
            raise journey.out_of_time()
        wake = min(journey.deadline, now + 1.0)
        if demand.line is Line.WAITING:
            wake = min(wake, journey.overdue_at)
        decision = await ticket.settled(wake - now)
        if decision is not None:
            return decision
        now = self._clock()
        if demand.line is Line.WAITING and now >= journey.overdue_at:
            demand.line = Line.OVERDUE
        if journey.is_absent(now, present=self._fleet.has(demand.model, demand.tiers)):
            raise NoCapacity(f"no worker serves {demand.model} at the moment", retry_after=5.0)
        # Room wakes the line; what else may move a request is looked at here: the cloud, for one
        # that is overdue, and a model that came, failed or went.
        self._serve_line(demand.model)
        if ticket.decision is None and not isinstance(again := self._place(demand), Wait):
            ticket.settle(again)
        return ticket.decision

    def _serve_line(self, model: str) -> None:
        """Give seats to those in line, while there are any; background requests come last."""
        if not self._lines:
            return
        for urgency in TURNS:
            line = self._lines.get((model, urgency))
            while line and (tiers := self._fleet.tiers_with_room(model, urgency)):
                if not self._serve_next(line, tiers):
                    break

    def _serve_next(self, line: WaitingLine[_Ticket], tiers: AbstractSet[Tier]) -> bool:
        """Give a seat to the first in line who can use one of these tiers.

        Not to the first alone: one who waits for the cloud does not hold up those for the edge.
        """
        able = (ticket for ticket in line if not tiers.isdisjoint(ticket.demand.tiers))
        for ticket in islice(able, LOOK_AHEAD):
            now = self._clock()
            hopeless = self._prospects.give_up(ticket.demand, now)
            decision = hopeless or self._place(ticket.demand)
            if hopeless is not None:
                line.remove(ticket)
            elif isinstance(decision, Wait):
                continue
            else:
                line.serve(ticket)
                self._prospects.moved(ticket.demand, now)
            ticket.settle(decision)
            return True
        return False

    def _history(self, model: str) -> ModelHistory:
        return self._histories.get(model) or ModelHistory()

    def _learn(self, request: InferRequest, done: Done) -> None:
        if request.task is Task.COUNT:
            return  # or the model would seem to give the shortest of answers
        history = self._histories.get(request.model)
        if history is None:
            history = self._histories[request.model] = ModelHistory()
        history.learn(estimate.prompt_chars(request), len(request.messages), done.usage)

    async def _tick(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            stalled = now - last - TICK
            if stalled > STALLED_AFTER:
                self._fleet.excuse_silence(stalled)
                for attempt in self._attempts:
                    attempt.excuse_silence(stalled)
            last = now
            self._fleet.prune()
            for attempt in tuple(self._attempts):
                attempt.check(now)

    async def _renew_leases(self) -> None:
        lease = encode(Lease(router=self._incarnation))
        while True:
            await asyncio.sleep(LEASE_EVERY)
            # One for each worker, through any attempt on it: they are asked, not told, so that
            # the broker answers at once for a worker that has died.
            for attempt in {attempt.seat.node.key: attempt for attempt in self._attempts}.values():
                attempt.renew(lease)


_OF_TASK = MappingProxyType(
    {Task.EMBED: Ability.EMBEDDINGS, Task.RERANK: Ability.RERANK, Task.COUNT: Ability.COUNT}
)
"""What a worker must be able to do with a model; every other task is to generate text."""


def _needs(request: InferRequest) -> dict[Ability, str]:
    """Return the abilities a request asks for, each with the field that asks."""
    needs: dict[Ability, str] = {}
    if request.task in _OF_TASK:
        needs[_OF_TASK[request.task]] = "model"
    if request.prompt is not None:
        needs[Ability.PROMPT] = "prompt"
    if request.suffix:
        needs[Ability.SUFFIX] = "suffix"
    if request.tools and request.tool_choice != "none":
        needs[Ability.TOOLS] = "tools"
    if request.response_format and request.response_format.get("type") != "text":
        needs[Ability.STRUCTURED_OUTPUT] = "response_format"
    if request.logprobs is not None:
        needs[Ability.LOGPROBS] = "logprobs"
    if request.prompt_logprobs:
        needs[Ability.PROMPT_LOGPROBS] = "prompt_logprobs"
    if request.sampling.logit_bias:
        needs[Ability.LOGIT_BIAS] = "logit_bias"
    if request.n > 1:
        needs[Ability.CHOICES] = "n"
    return needs


def _destination(decision: Decision, journey: Journey) -> tuple[Seat, Fallback | None]:
    match decision:
        case Dispatch(seat):
            return seat, None
        case Overflow(seat, reason):
            return seat, reason
        case Reject(error):
            raise journey.last_error or error
        case Wait():
            raise RuntimeError("a settled request has somewhere to go")


def _facts(tried: Tried, answer: Answer) -> Attributes:
    """Return what a span tells of an attempt."""
    return {
        "mesh.tier": tried.tier.value,
        "mesh.worker": tried.worker,
        "mesh.request.id": answer.request.id,
        "gen_ai.request.model": answer.request.model,
    }


def _log_failure(request: InferRequest, trace: TraceContext, seat: Seat, error: MeshError) -> None:
    log.info(
        "attempt.failed",
        request_id=request.id,
        trace_id=trace.trace_id,
        worker=seat.node.key[1],
        code=str(error.code),  # the code alone: an upstream's message may quote the prompt
    )
