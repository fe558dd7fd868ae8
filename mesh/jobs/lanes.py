"""Which lanes of a work stream a runner may pull from: those with jobs, unless they rest; pure.

That a lane has jobs is known from looks at the stream, and from the news of each job. The news may
be ahead of the job: such a lane rests for a moment instead of being taken for empty.
"""

from collections.abc import Callable, Iterable

from mesh.clock import Clock
from mesh.jobs.fairness import Lane, Turns

REST = 1.0
"""Seconds that a lane is left alone of which nothing may run now."""
SHORT_REST = 0.002
"""The same for one whose job is about to be stored."""
NEWS_AHEAD = 0.02
"""Seconds by which the news of a message may be ahead of its being stored."""


class Lanes:
    """The lanes of one side, in the order of their turns."""

    def __init__(self, clock: Clock, look_again: Callable[[float], object]) -> None:
        """``look_again`` is called with the seconds after which a lane has rested."""
        self._clock, self._look_again = clock, look_again
        self._turns = Turns()
        self._resting: dict[Lane, float] = {}
        self._heard: dict[Lane, float] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def next(self, has_room: Callable[[Lane], bool]) -> Lane | None:
        """Return the lane whose turn it is, among those that do not rest and have room."""
        now = self._clock()
        return self._turns.next(lambda lane: self._resting.get(lane, 0.0) <= now and has_room(lane))

    def see(self, lanes: Iterable[Lane]) -> None:
        """Take over which lanes have jobs, from a look at the stream."""
        now = self._clock()
        self._resting = {lane: until for lane, until in self._resting.items() if until > now}
        self._heard = {lane: at for lane, at in self._heard.items() if now - at <= NEWS_AHEAD}
        for lane in lanes:
            self._turns.add(lane)

    def hear(self, lane: Lane) -> None:
        """Take the news that a lane has a job, which may not be stored yet."""
        self._heard[lane] = self._clock()
        if lane not in self._turns:
            self._turns.add(lane)
            self._rest_shortly(lane)

    def stored(self, lane: Lane) -> None:
        """Know that a lane has a job, all of it."""
        self._resting.pop(lane, None)
        self._turns.add(lane)

    def ran_short(self, lane: Lane) -> None:
        """Take a lane for empty, unless the news of a job may have come before the job."""
        if self._clock() - self._heard.get(lane, 0.0) > NEWS_AHEAD:
            self._turns.remove(lane)
        else:
            self._rest_shortly(lane)

    def rest(self, lane: Lane) -> None:
        """Leave a lane alone whose next job may not run now."""
        self._resting[lane] = self._clock() + REST

    def _rest_shortly(self, lane: Lane) -> None:
        self._resting[lane] = self._clock() + SHORT_REST
        self._look_again(SHORT_REST)
