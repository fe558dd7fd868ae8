"""The totals behind the dashboard, kept as requests end."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.outcome import OK, OWN_DOING, Ended
from gateway.prices import Prices
from schemas.dashboard import FailureView, FlowView
from schemas.fleet import Tier
from schemas.inference import Usage

FAILURES_KEPT: Final = 20


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
class Tally:
    """Counts by tier and reason, and the latest failures."""

    prices: Prices
    wall_clock: Callable[[], float] = time.time
    in_flight: int = 0
    refused: int = 0
    flows: dict[Tier, Flow] = field(default_factory=lambda: {tier: Flow() for tier in Tier})
    fallbacks: Counter[str] = field(default_factory=Counter)
    failures: deque[FailureView] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))

    def count(self, ended: Ended, model: str) -> None:
        """Count one request that ended; ``model`` is a name that may be shown."""
        if ended.outcome not in OWN_DOING:
            failure = FailureView(at=self.wall_clock(), code=ended.outcome, model=model)
            self.failures.appendleft(failure)
        if ended.tier is None:
            # What goes on in the background is counted again when that ends.
            self.refused += ended.outcome != OK
            return
        flow = self.flows[ended.tier]
        flow.requests += 1
        if ended.usage is not None:
            flow.add(ended.usage, self.prices.cost(ended.usage))
        if ended.fallback is not None:
            self.fallbacks[ended.fallback] += 1
