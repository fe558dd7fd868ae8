"""How fast counters grow, from looks at them about once a second."""

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Rates(Generic[K]):
    """Growth per second over the last few seconds."""

    def __init__(self, window: float = 3.0) -> None:
        """``window``: seconds to look back at most; after a longer break it starts anew."""
        self._window = window
        self._looks: deque[tuple[float, dict[K, int]]] = deque()

    def look(self, now: float, counts: Mapping[K, int]) -> dict[K, float]:
        """Return the growth of each counter; one that is new, or began anew, has none yet."""
        while self._looks and now - self._looks[0][0] > self._window + 0.5:
            self._looks.popleft()
        then, before = self._looks[0] if self._looks else (now, {})
        self._looks.append((now, dict(counts)))
        passed = now - then
        if passed <= 0:
            return dict.fromkeys(counts, 0.0)
        return {
            key: max(0, count - before.get(key, count)) / passed for key, count in counts.items()
        }
