"""Whether a request that cannot start at once can still be answered in time.

One that cannot is refused when it comes, with a time to come back, instead of waiting to die: under
overload everything that is computed in vain is taken from somebody who had a chance.
"""

from mesh.demand import Demand
from mesh.errors import DeadlineExceeded, QueueFull
from mesh.estimate import finish_time
from mesh.fleet import Fleet
from mesh.pace import Pace, come_back
from mesh.placement import Decision, Dispatch, Overflow, Reject, shortest_run
from schemas.inference import Urgency

CAUTION = 1.2
"""How much longer than predicted a newcomer's wait is taken to be: who is let in should make it."""
DOUBT = 0.75
"""Share of its predicted run for which one at the head of the line is still given a seat."""


class Prospects:
    """Judges by the pace of each line; of a line that never moved nothing is known."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._paces: dict[tuple[str, Urgency], Pace] = {}

    def check(self, demand: Demand, ahead: int, now: float) -> None:
        """Raise ``QueueFull`` for a newcomer who would be served too late.

        Whoever would be first may stay: nobody would find out otherwise that the line moves again.
        """
        pace = self._paces.get(_line(demand))
        wait = pace.wait(ahead) if pace is not None and ahead else None
        if wait is None:
            return
        late = now + CAUTION * wait + self._run(demand) - demand.deadline
        if late > 0:
            raise QueueFull(
                f"{ahead} requests for {demand.model} come first: this one's deadline would pass",
                retry_after=come_back(late),
            )

    def formed(self, demand: Demand, now: float) -> None:
        """Note that a line forms."""
        if (pace := self._paces.get(_line(demand))) is not None:
            pace.began(now)

    def moved(self, demand: Demand, now: float) -> None:
        """Note that somebody in line was given a seat."""
        line = _line(demand)
        pace = self._paces.get(line)
        if pace is None:
            pace = self._paces[line] = Pace()
        pace.moved(now)

    def give_up(self, demand: Demand, now: float, decision: Decision) -> Reject | None:
        """Return the refusal of one in line whose time no longer suffices for any worker.

        decision: where it would go now; if there is time for that, no other worker is looked at.
        """
        if isinstance(decision, Dispatch | Overflow):
            status = decision.seat.status
            run = finish_time(status, demand.prompt_tokens, demand.useful_tokens)
            if now + DOUBT * run <= demand.deadline:
                return None
        if now + DOUBT * self._run(demand) <= demand.deadline:
            return None
        return Reject(DeadlineExceeded("too little of the deadline was left when its turn came"))

    def _run(self, demand: Demand) -> float:
        return shortest_run(demand, self._fleet, demand.useful_tokens)


def _line(demand: Demand) -> tuple[str, Urgency]:
    return demand.model, demand.urgency
