"""Measured speed of an upstream's model, as it is advertised."""

from mesh.clock import Clock, monotonic

WEIGHT = 0.2
"""Share of the newest observation in a moving average."""
MIN_SPAN = 0.001
"""Seconds; below this an answer came in one burst and says nothing of its speed."""


class MovingAverage:
    """An exponential moving average, 0 before the first observation."""

    def __init__(self) -> None:
        self.value = 0.0

    def observe(self, value: float) -> None:
        """Take in one observation."""
        self.value = value if self.value == 0 else self.value + WEIGHT * (value - self.value)


class Rates:
    """Time to the first piece and tokens/s of one sequence, averaged over recent answers."""

    def __init__(self) -> None:
        self.overhead_ms = MovingAverage()
        self.decode = MovingAverage()


class Stopwatch:
    """Times one answer: from the call to its first piece, and from there to its last."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._last = self._began

    def piece(self) -> None:
        """Note that a piece came now."""
        self._last = self._clock()
        if self._first is None:
            self._first = self._last

    def report(self, rates: Rates, tokens: int) -> None:
        """Enter a finished answer of ``tokens`` tokens per sequence into the averages."""
        if self._first is None:
            return
        rates.overhead_ms.observe((self._first - self._began) * 1000)
        span = self._last - self._first
        if tokens > 1 and span >= MIN_SPAN:
            rates.decode.observe((tokens - 1) / span)
