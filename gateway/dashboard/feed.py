"""Snapshots for everybody who watches: made while somebody does, encoded once for all of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from gateway.problems import HttpError
from mesh.clock import Clock, monotonic

EVERY: Final = 1.0
"""Seconds between snapshots."""


class TooManyWatchers(HttpError):
    """As many dashboards are open as the gateway serves."""

    status = 503
    code = "too_many_watchers"


class Feed:
    """Hands the same bytes to all watchers.

    No task runs for it: whoever wakes up first after a second makes the next snapshot, and the
    others find it there.
    """

    def __init__(self, compose: Callable[[], bytes], limit: int, clock: Clock = monotonic) -> None:
        """``limit``: watchers at a time."""
        self._compose, self._limit, self._clock = compose, limit, clock
        self._closed = anyio.Event()
        self._latest, self._made_at = b"", -EVERY
        self.watchers = 0

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Hold a watcher's place; raises ``TooManyWatchers``."""
        if self.watchers >= self._limit:
            raise TooManyWatchers(f"All {self._limit} places for dashboards are taken; retry.")
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield a snapshot at once, and then one each second until the feed is closed."""
        while not self._closed.is_set():
            snapshot, due = self._fresh(), self._made_at + EVERY
            yield snapshot
            with anyio.move_on_after(due - self._clock()):
                await self._closed.wait()

    def close(self) -> None:
        """End all watching: a gateway that stops must not wait for pages that never end."""
        self._closed.set()

    def _fresh(self) -> bytes:
        now = self._clock()
        if now - self._made_at >= EVERY:
            self._latest, self._made_at = self._compose(), now
        return self._latest
