"""Which prefixes the KV cache holds, by the fingerprints that routers know them by."""

from collections.abc import Iterable

MAX_FINGERPRINTS = 64
"""An advert goes out every second to everybody: it names the newest only."""


class Warmth:
    """Fingerprints of ended attempts whose tokens the engine still keeps."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[str, ...]] = {}
        self._gone: set[int] = set()
        self._fingerprints: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What to advertise, the newest first."""
        return self._fingerprints

    def note(self, attempt: int, fingerprints: Iterable[str]) -> None:
        """Hold the prefixes of an attempt that has ended, unless they are evicted already."""
        if attempt in self._gone:
            self._gone.discard(attempt)
            return
        self._held[attempt] = tuple(fingerprints)
        self._collect()

    def evict(self, attempts: Iterable[int]) -> None:
        """Forget attempts whose tokens the engine dropped, even if it says so before ``note``."""
        for attempt in attempts:
            if self._held.pop(attempt, None) is None:
                self._gone.add(attempt)
        self._collect()

    def clear(self) -> None:
        """Forget everything: a new engine process holds nothing."""
        self._held.clear()
        self._gone.clear()
        self._fingerprints = ()

    def _collect(self) -> None:
        newest: dict[str, None] = {}
        for fingerprints in reversed(self._held.values()):
            # The longest prefix of a conversation comes first: it is worth most.
            newest.update(dict.fromkeys(reversed(fingerprints)))
            if len(newest) >= MAX_FINGERPRINTS:
                break
        self._fingerprints = tuple(newest)[:MAX_FINGERPRINTS]
