"""The totals behind the dashboard, kept as requests end."""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.outcome import OK, OWN_DOING, Ended
from gateway.prices import Prices
from schemas.dashboard import FailureView, FlowView
from schemas.fleet import Tier
from schemas.inference import Usage

FAILURES_KEPT: Final = 20
TENANTS_KEPT: Final = 1000
"""Clients on the bus say themselves whose tenant they are, and may make any number up."""


@dataclass
class Flow:
    """What has gone through one tier."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0

    def add(self, usage: Usage, usd: float) -> None:
        """Count the tokens of an answer, and what the cloud takes for them."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        self.usd += usd

    def view(self, tokens_per_second: float) -> FlowView:
        """Return it as the dashboard shows it."""
        return FlowView(
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            tokens_per_second=round(tokens_per_second, 1),
            usd=round(self.usd, 6),
        )


@dataclass
class Totals:
    """Counts by tier and reason, and the latest failures."""

    refused: int = 0
    flows: dict[Tier, Flow] = field(default_factory=lambda: {tier: Flow() for tier in Tier})
    fallbacks: Counter[str] = field(default_factory=Counter)
    failures: deque[FailureView] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))

    def count(self, ended: Ended, usd: float, failure: FailureView | None) -> None:
        """Count one request that ended; ``usd``: what the cloud takes for its tokens."""
        if failure is not None:
            self.failures.appendleft(failure)
        if ended.tier is None:
            # What goes on in the background is counted again when that ends.
            self.refused += ended.outcome != OK
            return
        flow = self.flows[ended.tier]
        flow.requests += 1
        if ended.usage is not None:
            flow.add(ended.usage, usd)
        if ended.fallback is not None:
            self.fallbacks[ended.fallback] += 1


class Tally:
    """The totals of all tenants together, and of each."""

    def __init__(self, prices: Prices, wall_clock: Callable[[], float] = time.time) -> None:
        self.prices = prices
        self.in_flight = 0
        self.everybody = Totals()
        self._tenants: OrderedDict[str, Totals] = OrderedDict()
        self._wall_clock = wall_clock

    def of(self, tenant: str | None) -> Totals:
        """Return a tenant's totals; without one, those of everybody."""
        return self.everybody if tenant is None else self._tenants.get(tenant) or Totals()

    def count(self, ended: Ended, model: str) -> None:
        """Count one request that ended; ``model`` is a name that may be shown."""
        usd = 0.0 if ended.usage is None else self.prices.cost(ended.usage)
        failure = None
        if ended.outcome not in OWN_DOING:
            failure = FailureView(at=self._wall_clock(), code=ended.outcome, model=model)
        self.everybody.count(ended, usd, failure)
        if ended.tenant:
            self._kept(ended.tenant).count(ended, usd, failure)

    def _kept(self, tenant: str) -> Totals:
        """Return the totals of a tenant, to be added to; those not seen for longest go first."""
        totals = self._tenants.get(tenant)
        if totals is None:
            totals = self._tenants[tenant] = Totals()
        self._tenants.move_to_end(tenant)
        if len(self._tenants) > TENANTS_KEPT:
            self._tenants.popitem(last=False)
        return totals
