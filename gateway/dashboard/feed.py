"""Snapshots for everybody who watches: made while somebody does, once for all who see the same."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import anyio

from gateway.dashboard.view import View
from gateway.problems import HttpError
from mesh.clock import Clock, monotonic

EVERY: Final = 1.0
"""Seconds between snapshots."""


class TooManyWatchers(HttpError):
    """As many dashboards are open as the gateway serves."""

    status = 503
    code = "too_many_watchers"


class _Made(NamedTuple):
    snapshot: bytes
    at: float


class Feed:
    """Hands the same bytes to all watchers of a view.

    No task runs for it: whoever wakes up first after a second makes the next snapshot, and the
    others find it there.
    """

    def __init__(
        self, compose: Callable[[View], bytes], limit: int, clock: Clock = monotonic
    ) -> None:
        """``limit``: watchers at a time."""
        self._compose, self._limit, self._clock = compose, limit, clock
        self._closed = anyio.Event()
        self._latest: dict[View, _Made] = {}
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

    async def follow(self, view: View) -> AsyncIterator[bytes]:
        """Yield a snapshot at once, and then one each second until the feed is closed."""
        while not self._closed.is_set():
            made = self._fresh(view)
            yield made.snapshot
            with anyio.move_on_after(made.at + EVERY - self._clock()):
                await self._closed.wait()

    def close(self) -> None:
        """End all watching: a gateway that stops must not wait for pages that never end."""
        self._closed.set()

    def _fresh(self, view: View) -> _Made:
        now = self._clock()
        latest = self._latest.get(view)
        if latest is None or now - latest.at >= EVERY:
            latest = self._latest[view] = _Made(self._compose(view), now)
            self._forget_before(now - 2 * EVERY)
        return latest

    def _forget_before(self, time: float) -> None:
        """Leave out views that nobody watches any more."""
        self._latest = {view: made for view, made in self._latest.items() if made.at >= time}
