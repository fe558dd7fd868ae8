"""Measured speeds as moving averages."""

DECAY = 0.9
"""Weight of the past at each new measurement: about the last ten count."""


class Rate:
    """Tokens per second: a decayed sum of tokens over a decayed sum of seconds.

    Long measurements weigh more than short ones, so a ten-token prompt, which mostly measures the
    fixed cost of a step, hardly moves the average.
    """

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        """Count ``tokens`` that took ``seconds``."""
        self._tokens = self._tokens * DECAY + tokens
        self._seconds = self._seconds * DECAY + seconds

    @property
    def value(self) -> float:
        """Tokens per second, 0 before the first measurement."""
        return self._tokens / self._seconds if self._seconds else 0.0
