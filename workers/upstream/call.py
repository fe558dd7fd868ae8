"""The time limits of one call to an upstream, and what is known of it when it ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import anyio

from mesh.errors import DeadlineExceeded, UpstreamTimeout
from workers.upstream.settings import UpstreamSettings

UNTRACED: Mapping[str, str] = MappingProxyType({})


class Call:
    """One call: how long it may still wait, and how far it has come.

    billable: the upstream may charge for it, which it may from the moment it could have been sent
    until the upstream says no. heard: a first byte of the answer has come.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        remaining: float,
        trace: Mapping[str, str] = UNTRACED,
    ) -> None:
        """``remaining``: seconds to the deadline; ``trace``: headers that tell the span."""
        self.trace = trace
        self.billable = False
        self.heard = False
        self._idle = settings.idle_timeout
        self._began = anyio.current_time()
        self._deadline = self._began + remaining
        self._first_byte = self._began + settings.first_byte_timeout
        self._latest = self._began + settings.total_timeout

    @property
    def silence(self) -> float:
        """Seconds since the start in which nothing came at all; 0 once something has."""
        return 0.0 if self.heard else anyio.current_time() - self._began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Bound the wait for the next bytes.

        Raises ``UpstreamTimeout``, or ``DeadlineExceeded`` if the request's deadline came first.
        """
        patience = anyio.current_time() + self._idle if self.heard else self._first_byte
        until = min(patience, self._latest, self._deadline)
        with anyio.CancelScope(deadline=until) as scope:
            yield
        if scope.cancelled_caught:
            # ``from None``: the cancelled frames hold the request's headers, and these the key.
            raise self._expired(until) from None

    def _expired(self, until: float) -> DeadlineExceeded | UpstreamTimeout:
        if until == self._deadline:
            return DeadlineExceeded()
        if until == self._latest:
            return UpstreamTimeout("the upstream took too long for its whole answer")
        if self.heard:
            return UpstreamTimeout("the upstream stalled in the middle of its answer")
        return UpstreamTimeout("the upstream did not begin to answer in time")
