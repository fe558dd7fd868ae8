"""Whose job is next: high priority first but not only, tenants in turn; pure.

A lane is what can be pulled by itself: the jobs of one tenant for one model at one priority.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.jobs import Priority

PATIENCE = 8
"""Turns that a priority may be passed over before it gets one."""


@dataclass(frozen=True)
class Lane:
    """The jobs of a tenant for a model at a priority."""

    priority: Priority
    tenant: str
    model: str


class Turns:
    """Lanes believed to hold jobs, in the order in which they are served."""

    def __init__(self) -> None:
        self._lanes: dict[Priority, dict[str, dict[Lane, None]]] = {each: {} for each in Priority}
        """By priority and tenant; both tenants and their lanes in the order of their turns."""
        self._passed: dict[Priority, int] = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return sum(len(lanes) for tenants in self._lanes.values() for lanes in tenants.values())

    def __contains__(self, lane: Lane) -> bool:
        return lane in self._lanes[lane.priority].get(lane.tenant, {})

    def add(self, lane: Lane) -> None:
        """Believe that a lane holds jobs."""
        self._lanes[lane.priority].setdefault(lane.tenant, {})[lane] = None

    def remove(self, lane: Lane) -> None:
        """Believe that a lane is empty."""
        tenants = self._lanes[lane.priority]
        lanes = tenants.get(lane.tenant, {})
        lanes.pop(lane, None)
        if not lanes:
            tenants.pop(lane.tenant, None)

    def next(self, can_run: Callable[[Lane], bool]) -> Lane | None:
        """Return the lane whose turn it is, among those that can run, and move it to the end."""
        candidates = {each: self._first(each, can_run) for each in Priority}
        waiting = {each: lane for each, lane in candidates.items() if lane is not None}
        if not waiting:
            return None
        lane = waiting[self._choose(waiting)]
        tenants = self._lanes[lane.priority]
        lanes = tenants.pop(lane.tenant)
        del lanes[lane]
        tenants[lane.tenant] = {**lanes, lane: None}
        return lane

    def _choose(self, waiting: Iterable[Priority]) -> Priority:
        """Take the highest priority, unless a lower one has been passed over for too long."""
        ordered = [each for each in Priority if each in waiting]
        late = (each for each in ordered if self._passed[each] >= PATIENCE)
        chosen = next(late, ordered[0])
        for each in ordered:
            self._passed[each] = 0 if each is chosen else self._passed[each] + 1
        return chosen

    def _first(self, priority: Priority, can_run: Callable[[Lane], bool]) -> Lane | None:
        tenants = self._lanes[priority].values()
        return next((lane for lanes in tenants for lane in lanes if can_run(lane)), None)
