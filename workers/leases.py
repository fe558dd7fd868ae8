"""Leases: whether the routers whose attempts run here are still there. Pure.

Every router tells the workers that compute for it that it lives. Attempts of one that has fallen
silent are nobody's any more.
"""

from collections.abc import Set as AbstractSet

LEASE_LASTS = 2.0
"""Seconds without a lease after which a router's attempts are nobody's any more."""


class Leases:
    """When each router was last heard of, in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}

    def renew(self, router: str, now: float) -> None:
        """Note a sign of life."""
        self._heard[router] = now

    def has_run_out(self, router: str, now: float) -> bool:
        """Tell whether a router has been silent for too long."""
        return now - self._heard.get(router, now) > LEASE_LASTS

    def excuse(self, seconds: float, now: float) -> None:
        """Do not count time in which this process itself stood still."""
        for router, heard_at in self._heard.items():
            self._heard[router] = min(heard_at + max(0.0, seconds), now)

    def keep(self, alive: AbstractSet[str]) -> None:
        """Forget all routers but these."""
        for router in self._heard.keys() - alive:
            del self._heard[router]
