"""How many requests this process answers at a time: as many as its event loop keeps up with.

Pure; the clock is handed in. The signal is the loop's own delay: a timer that fires late means that
everything else waited as long, the first byte of every stream and the answer to every refusal. A
stream that says little costs little, so no fixed number would be right.

When the delay has been too long for a window, the limit falls below what was in flight, the further
the longer the delay; while it is short, the limit grows. What runs is never touched: only newcomers
are refused, and none while fewer than the floor are in flight. So while they are, and the limit is
as high as it gets, the loop need not be watched: a gateway that has little to do sleeps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from mesh.clock import Clock

LONGEST_RETRY = 5.0
"""Seconds, before they are spread, after which a refused client is asked back at the latest."""

Uniform = Callable[[float, float], float]
"""Returns a random number between two others (``random.uniform``)."""


@dataclass(frozen=True, kw_only=True)
class LimiterSettings:
    """When a gateway refuses newcomers; times in seconds.

    floor, ceiling: requests in flight that are always, and never more than, let in. target: delay
    of the event loop up to which it keeps up. late: delay of this very moment from which newcomers
    are refused without waiting for a window to end.
    """

    floor: int = 32
    ceiling: int = 8192
    target: float = 0.010
    late: float = 0.040
    sample_every: float = 0.025
    samples: int = 4
    """Delays that make a window; their median counts, so that one pause proves nothing."""
    deepest_fall: float = 0.5
    growth: float = 1.0625


class Limiter:
    """Lets requests in, or not; ``enter`` and ``leave`` come in pairs."""

    def __init__(self, settings: LimiterSettings, clock: Clock) -> None:
        self.in_flight = 0
        self.limit = settings.ceiling
        self._refused = 0
        """Requests turned away in this window and in the one before, which counts half."""
        self._settings, self._clock = settings, clock
        self._due = clock() + settings.sample_every
        self._delays: list[float] = []
        self._most = 0

    def enter(self) -> bool:
        """Count a request in if there is room for it."""
        if self.in_flight >= self.limit or (
            self.in_flight >= self._settings.floor
            and self._clock() - self._due > self._settings.late
        ):
            self._refused += 1
            return False
        self.in_flight += 1
        self._most = max(self._most, self.in_flight)
        return True

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    @property
    def is_needed(self) -> bool:
        """Whether anybody could be refused now or soon."""
        return self.in_flight >= self._settings.floor or self.limit < self._settings.ceiling

    def rest(self) -> None:
        """Take no delay into account until ``wake``: nobody watches the loop."""
        self._delays.clear()
        self._due = math.inf

    def wake(self) -> None:
        """Expect the next ``sample`` in ``sample_every``."""
        self._due = self._clock() + self._settings.sample_every

    def sample(self) -> None:
        """Note how late this call comes; the next one is due in ``sample_every``."""
        now = self._clock()
        self._delays.append(max(0.0, now - self._due))
        if len(self._delays) == self._settings.samples:
            self._adjust(median(self._delays))
            self._delays.clear()
        self._due = now + self._settings.sample_every

    def retry_after(self, uniform: Uniform) -> float:
        """Return seconds after which a refused client may try again.

        The more were refused for each that is let in, the longer, and never the same for all: those
        who were refused together would come back together.
        """
        crowd = min(LONGEST_RETRY - 1.0, self._refused / self.limit)
        return (1.0 + crowd) * uniform(0.75, 1.25)

    def _adjust(self, delay: float) -> None:
        settings = self._settings
        if delay > settings.target:
            fall = max(settings.deepest_fall, settings.target / delay)
            wanted = min(self.limit, self._most) * fall
        else:
            wanted = self.limit * settings.growth + 1
        self.limit = int(min(settings.ceiling, max(settings.floor, wanted)))
        self._most = self.in_flight
        self._refused //= 2
