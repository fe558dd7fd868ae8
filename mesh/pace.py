"""How fast a line moves, from the seats that were given in it.

Observed, not predicted: other routers' requests take seats, too, and they cannot be seen from here.
Pure; times are handed in.
"""

import random

FEW = 8
"""Seats given before anything is said."""
WINDOW = 32
"""Seats that the average is over; older ones fade."""
STALE_AFTER = 60.0
"""Seconds without a seat given after which the fleet may be another one."""
LONGEST_RETRY = 48.0
"""Seconds, before they are spread: what comes of it stays below the minute that clients accept."""


class Pace:
    """The time between two seats given while somebody waited."""

    def __init__(self) -> None:
        self._interval = 0.0
        self._moves = 0
        self._last: float | None = None

    def began(self, now: float) -> None:
        """Note that a line forms; the time without one says nothing."""
        if self._last is None or now - self._last > STALE_AFTER:
            self._moves = 0
        self._last = now

    def moved(self, now: float) -> None:
        """Note that somebody in line was given a seat."""
        if self._last is not None:
            self._moves += 1
            weight = 1 / min(self._moves, WINDOW)
            self._interval += weight * (now - self._last - self._interval)
        self._last = now

    def wait(self, ahead: int) -> float | None:
        """Return seconds until someone gets a seat who has so many ahead; ``None`` if unknown."""
        return None if self._moves < FEW else self._interval * (ahead + 1)


def come_back(seconds: float) -> float:
    """Return when a refused client may try again: never the same for all who were refused."""
    bounded = min(LONGEST_RETRY, max(1.0, seconds))
    return bounded * random.uniform(1.0, 1.25)  # noqa: S311 - spreads load
