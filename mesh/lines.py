"""The lines of a router: where requests wait that find no free slot.

A line is bounded, and of one model and urgency. Whoever stands in it can still be moved, cancelled
or timed out; deep queues inside workers would be stranded with them.
"""

import asyncio
from collections.abc import Set as AbstractSet
from itertools import islice

from mesh.answer import Answer
from mesh.clock import Clock
from mesh.demand import Demand, Line
from mesh.errors import NoCapacity
from mesh.fleet import Fleet
from mesh.journey import Journey
from mesh.placement import Decision, Dispatch, Limits, Overflow, Wait, place
from mesh.prospects import Prospects
from mesh.waiting import WaitingLine
from schemas.fleet import Tier
from schemas.inference import InferRequest, Urgency

LOOK_AHEAD = 16
"""How many of those in line are looked at for a free slot; everyone looks again every second."""
LOOK_AGAIN = 1.0
"""Seconds between two looks of somebody in line at what else there may be."""
TURNS = (Urgency.INTERACTIVE, Urgency.BACKGROUND)
"""Whose line is served first."""


class Lines:
    """All lines of a router, and who is next when room appears."""

    def __init__(
        self, fleet: Fleet, clock: Clock, limits: Limits, *, wait_share: float, max_wait: float
    ) -> None:
        """``wait_share``, ``max_wait``: see ``RouterSettings``."""
        self._fleet, self._clock, self._limits = fleet, clock, limits
        self._wait_share, self._max_wait = wait_share, max_wait
        self._lines: dict[tuple[str, Urgency], WaitingLine[Standing]] = {}
        self._prospects = Prospects(fleet)
        fleet.on_change(self.serve)

    def waiting(self, model: str) -> int:
        """Return how many requests stand in line for a model."""
        if not self._lines:
            return 0
        return sum(len(self._lines.get((model, urgency), ())) for urgency in TURNS)

    def place(self, demand: Demand) -> Decision:
        """Decide where a request goes; background requests stand behind everybody else."""
        waiting = 0
        if self._lines:
            interactive = self._lines.get((demand.model, Urgency.INTERACTIVE), ())
            background = demand.urgency is Urgency.BACKGROUND
            waiting = self.waiting(demand.model) if background else len(interactive)
        return place(demand, self._fleet, self._clock(), waiting, self._limits)

    def join(self, request: InferRequest, journey: Journey) -> "Standing":
        """Put a request in line; raises ``QueueFull`` if its deadline would pass there."""
        demand, now = journey.demand, self._clock()
        key = request.model, request.urgency
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = WaitingLine()
            self._prospects.formed(demand, now)
        elif demand.line is Line.ARRIVING:
            self._prospects.check(demand, line.ahead(request.tenant, demand.deadline), now)
        journey.begin_wait(now, self._wait_share, self._max_wait)
        standing = Standing(self, journey, now)
        line.add(standing, request.tenant, journey.deadline)
        return standing

    def leave(self, standing: "Standing") -> None:
        """Take somebody out of line; a seat that was given but not taken goes to the next."""
        demand = standing.demand
        key = demand.model, demand.urgency
        line = self._lines.get(key)
        if line is not None:
            line.remove(standing)
            if not line:
                del self._lines[key]
        if standing.give_back():
            self.serve(demand.model)

    def serve(self, model: str) -> None:
        """Give seats to those in line, while there are any; background requests come last."""
        if not self._lines:
            return
        for urgency in TURNS:
            line = self._lines.get((model, urgency))
            while line and (tiers := self._fleet.tiers_with_room(model, urgency)):
                if not self._serve_next(line, tiers):
                    break

    def look_again(self, standing: "Standing", now: float) -> None:
        """Look at what else may move a request; raises when its model has been gone for too long.

        Room wakes the line. Here it is the cloud, for one that is overdue, and a model that came,
        failed or went.
        """
        journey, demand = standing.journey, standing.demand
        if demand.line is Line.WAITING and now >= journey.overdue_at:
            demand.line = Line.OVERDUE
        if journey.is_absent(now, present=self._fleet.has(demand.model, demand.tiers)):
            raise NoCapacity(f"no worker serves {demand.model} at the moment", retry_after=5.0)
        self.serve(demand.model)
        if standing.decision is None and not isinstance(again := self.place(demand), Wait):
            standing.settle(again)

    def now(self) -> float:
        """Return the time on the router's clock."""
        return self._clock()

    def _serve_next(self, line: "WaitingLine[Standing]", tiers: AbstractSet[Tier]) -> bool:
        """Give a seat to the first in line who can use one of these tiers.

        Not to the first alone: one who waits for the cloud does not hold up those for the edge.
        """
        able = (each for each in line if not tiers.isdisjoint(each.demand.tiers))
        for standing in islice(able, LOOK_AHEAD):
            now, decision = self._clock(), self.place(standing.demand)
            hopeless = self._prospects.give_up(standing.demand, now, decision)
            if hopeless is not None:
                line.remove(standing)
                standing.settle(hopeless)
                return True
            if not isinstance(decision, Wait):
                line.serve(standing)
                self._prospects.moved(standing.demand, now)
                standing.settle(decision)
                return True
        return False


class Standing:
    """One request in line, and the seat it is given."""

    __slots__ = ("_bell", "_lines", "_since", "decision", "demand", "journey")

    def __init__(self, lines: Lines, journey: Journey, since: float) -> None:
        self.journey, self.demand = journey, journey.demand
        self.decision: Decision | None = None
        self._lines, self._since = lines, since
        self._bell: asyncio.Future[None] | None = None

    async def wait(self) -> Decision | None:
        """Wait a second at most for a decision; raises when the time to wait is over."""
        journey, now = self.journey, self._lines.now()
        if now >= journey.deadline:
            raise journey.out_of_time()
        wake = min(journey.deadline, now + LOOK_AGAIN)
        if self.demand.line is Line.WAITING:
            wake = min(wake, journey.overdue_at)
        if self.decision is None:
            loop = asyncio.get_running_loop()
            self._bell = loop.create_future()
            alarm = loop.call_later(max(0.0, wake - now), self._ring)
            try:
                await self._bell
            finally:
                alarm.cancel()
        if self.decision is None:
            self._lines.look_again(self, self._lines.now())
        return self.decision

    def settle(self, decision: Decision) -> None:
        """Reserve the seat, for the dispatch that follows."""
        if isinstance(decision, Dispatch | Overflow):
            decision.seat.expect(self.demand.urgency)
        self.decision = decision
        self._ring()

    def take(self, answer: Answer) -> None:
        """End the wait; the reservation is the caller's, and ends with its attempt."""
        self.decision = None
        self.leave(answer)

    def leave(self, answer: Answer) -> None:
        """Stand in line no longer."""
        answer.waited += self._lines.now() - self._since
        self._lines.leave(self)

    def give_back(self) -> bool:
        """End the reservation of a seat that was not taken; tells whether there was one."""
        decision, self.decision = self.decision, None
        if not isinstance(decision, Dispatch | Overflow):
            return False
        decision.seat.settle(self.demand.urgency)
        return True

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
