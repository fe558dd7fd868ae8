"""A circuit breaker: leaves a failing upstream alone for a while, then tries it with one call.

::

    CLOSED ──too many failures, 429, 401/403──▶ OPEN ──time passed──▶ HALF_OPEN
       ▲                                          ▲                       │
       └───────────── the probe succeeded ────────┼───────────────────────┤
                                                  └── the probe failed ───┘

Pure: time comes from an injected clock, and nothing happens by itself. The pattern is described in
M. Nygard, *Release It!*; the single probe keeps a recovering upstream from being run over.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from mesh.clock import Clock, monotonic
from mesh.errors import BreakerOpen


class BreakerState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    """All calls pass."""
    OPEN = "open"
    """No call passes until a point in time."""
    HALF_OPEN = "half_open"
    """One call at a time passes; its outcome decides."""


@dataclass(frozen=True, kw_only=True)
class BreakerSettings:
    """When the breaker opens, and for how long; all times in seconds.

    max_streak: failures in a row that open it. window, max_ratio: so does this share of failures
    among the last ``window`` calls. pause_first doubles with every failed probe up to pause_max.
    pause_auth: after a refused key, which only a person can mend. pause_asked_max: the longest
    Retry-After that is believed.
    """

    max_streak: int = 5
    window: int = 20
    max_ratio: float = 0.5
    pause_first: float = 5.0
    pause_max: float = 60.0
    pause_auth: float = 600.0
    pause_asked_max: float = 3600.0


@dataclass(frozen=True)
class Permit:
    """Leave to make one call, whose outcome is reported back with it."""

    probe: bool = False


class Breaker:
    """Counts outcomes and says whether the next call may be made.

    Calls that were under way when it opened change nothing any more by failing or succeeding:
    they tell of the time before. A rate limit or a refused key, however, lengthens the pause.
    """

    def __init__(
        self, settings: BreakerSettings = BreakerSettings(), clock: Clock = monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._failures: deque[bool] = deque(maxlen=settings.window)
        self._streak = 0
        self._trips = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands at this moment."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.pause > 0 else BreakerState.HALF_OPEN

    @property
    def pause(self) -> float:
        """Seconds until a call may be tried again; 0 unless open."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def admit(self) -> Permit:
        """Return leave for one call; raises ``BreakerOpen`` with the time to wait."""
        match self.state:
            case BreakerState.CLOSED:
                return Permit()
            case BreakerState.HALF_OPEN if not self._probing:
                self._probing = True
                return Permit(probe=True)
        raise BreakerOpen(retry_after=self.pause or self._settings.pause_first)

    def succeeded(self, permit: Permit) -> None:
        """Take in that the upstream answered as it should."""
        self._return(permit)
        if permit.probe:
            self._close()
        elif self._open_until is None:
            self._streak = 0
            self._failures.append(False)

    def failed(self, permit: Permit) -> None:
        """Take in that the upstream failed, was silent or sent nonsense."""
        self._return(permit)
        if permit.probe:
            self._trip()
        elif self._open_until is None:
            self._streak += 1
            self._failures.append(True)
            if self._too_many():
                self._trip()

    def rate_limited(self, permit: Permit, seconds: float | None) -> None:
        """Take in that the upstream asked to be left alone, if it said so for how long."""
        self._return(permit)
        if seconds is not None:
            self._open(min(seconds, self._settings.pause_asked_max))
        elif permit.probe or self._open_until is None:
            self._trip()

    def locked_out(self, permit: Permit) -> None:
        """Take in that the upstream refused the key."""
        self._return(permit)
        self._open(self._settings.pause_auth)

    def abandoned(self, permit: Permit) -> None:
        """Take in that the call was given up by our side, which says nothing of the upstream."""
        self._return(permit)

    def _return(self, permit: Permit) -> None:
        if permit.probe:
            self._probing = False

    def _too_many(self) -> bool:
        full = len(self._failures) == self._settings.window
        ratio = sum(self._failures) / self._settings.window
        return self._streak >= self._settings.max_streak or (
            full and ratio >= self._settings.max_ratio
        )

    def _trip(self) -> None:
        pause = self._settings.pause_first * 2**self._trips
        if pause < self._settings.pause_max:
            self._trips += 1
        self._open(min(pause, self._settings.pause_max))

    def _open(self, seconds: float) -> None:
        self._open_until = max(self._open_until or 0.0, self._clock() + seconds)

    def _close(self) -> None:
        self._open_until = None
        self._failures.clear()
        self._streak = self._trips = 0
