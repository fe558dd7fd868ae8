"""The broker's clock: jobs outlive machines whose clocks disagree."""

from mesh.clock import Clock, monotonic


class BrokerClock:
    """Tells the broker's time, from what it said last and how long ago that was."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._offset_ms = 0.0

    def learn(self, now_ms: int) -> None:
        """Take over what the broker said just now."""
        self._offset_ms = now_ms - self._clock() * 1000

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return int(self._clock() * 1000 + self._offset_ms)
