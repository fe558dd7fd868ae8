"""What interactive requests have to wait for an engine, and how much longer it may be for others.

The time of a request is all that it is computed for until its first output.
"""

from collections import deque
from statistics import median

TOLERATED = 0.07
"""Part of an interactive request's time by which background work may delay it in the engine: a
tenth is the goal for all that it notices."""
RECENT = 16
"""How many interactive requests tell what the next one will be like."""
LASTS = 300.0
"""Seconds after the last interactive request for which another is expected."""


class Waits:
    """How long interactive requests lately took from their arrival to what they wait for."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._last = 0.0
        self._typical = 0.0

    def note(self, seconds: float, now: float) -> None:
        """Take in a request that has just got its first output."""
        self._seconds.append(seconds)
        self._typical = median(self._seconds)
        self._last = now

    def tolerated(self, now: float) -> float | None:
        """Return the seconds by which the next may be delayed, ``None`` if none is expected."""
        if not self._seconds or now - self._last > LASTS:
            return None
        return TOLERATED * self._typical
