"""Time: decisions take the clock as an argument, deadlines travel as remaining milliseconds."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds that only ever grow."""

monotonic: Clock = time.monotonic


def remaining_ms(deadline: float, now: float) -> int:
    """Return the whole milliseconds from ``now`` to ``deadline``, never below 0."""
    return max(0, int((deadline - now) * 1000))
