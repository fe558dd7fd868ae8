"""Requests and tokens per minute of one API key: counted here, told in OpenAI's headers.

Each limit is a bucket that holds a minute's worth and refills evenly. No request waits for what
other gateways have counted: they tell it afterwards (``gateway.gossip``), and then it is missing
here, too.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.auth import Caller
from gateway.problems import RateLimited
from mesh.clock import Clock
from schemas.keys import KeyUse

MINUTE: Final = 60.0
WORTH_TELLING: Final = 0.1
"""Share of a minute's worth that other gateways are told of at once."""


class Allowance:
    """So many units per minute; pure, in seconds of the caller's clock."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return seconds until so much is there, 0 if it is; more than the limit never is."""
        lacking = amount - self._refilled(now)
        return lacking * MINUTE / self.limit if lacking > 0 else 0.0

    def draw(self, amount: float, now: float) -> float:
        """Use up an amount that is there, or return seconds until it is; 0 if it was used up."""
        wait = self.wait(amount, now)
        if wait == 0.0:
            self._level -= amount
        return wait

    def give_back(self, amount: float, now: float) -> None:
        """Return what was taken and not used; a negative amount takes what was used beyond."""
        self._level = min(float(self.limit), self._refilled(now) + amount)

    def remaining(self, now: float) -> int:
        """Return how much is there."""
        return max(0, math.floor(self._refilled(now)))

    def missing(self, now: float) -> int:
        """Return how much has been used and has not come back."""
        return math.ceil(self.limit - self._refilled(now))

    def reset(self, now: float) -> float:
        """Return seconds until all of it is there again."""
        return (self.limit - self._refilled(now)) * MINUTE / self.limit

    def _refilled(self, now: float) -> float:
        level = self._level + (now - self._at) * self.limit / MINUTE
        self._level = level = level if level < self.limit else float(self.limit)
        self._at = now
        return level


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Requests and tokens per minute of a key, ``None`` where there is no limit."""

    requests: int | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, caller: Caller) -> "Limits":
        """Return those of a caller."""
        return cls(requests=caller.requests_per_minute, tokens=caller.tokens_per_minute)


class Untold:
    """The meters that have counted something since the other gateways were last told."""

    def __init__(self) -> None:
        self.meters: set[Meter] = set()
        self._urgent = asyncio.Event()

    def note(self, meter: "Meter") -> None:
        """Add a meter."""
        self.meters.add(meter)
        if meter.is_urgent:
            self._urgent.set()

    def clear(self, told: Iterable["Meter"]) -> None:
        """Leave out meters that have been told."""
        for meter in told:
            meter.told()
            self.meters.discard(meter)
        self._urgent.clear()

    async def urgent(self) -> None:
        """Wait until one has counted so much that it should be told at once."""
        await self._urgent.wait()


class Meter:
    """What one key may still do within the minute."""

    def __init__(self, key: str, limits: Limits, clock: Clock, untold: Untold) -> None:
        now = clock()
        self._key, self._clock, self._untold = key, clock, untold
        self.limits = limits
        requests, tokens = limits.requests, limits.tokens
        self._requests = None if requests is None else Allowance(requests, now)
        self._tokens = None if tokens is None else Allowance(tokens, now)
        self._used_requests = self._used_tokens = 0

    @property
    def use(self) -> KeyUse:
        """What was used here and not told yet, as far as it has not come back.

        A key may use many minutes' worth while the broker is away. The buckets of the others are
        full by then, and no fuller for what came back here: all of it would empty them for as long.
        """
        now = self._clock()
        requests, tokens = self._requests, self._tokens
        return KeyUse(
            key=self._key,
            requests=0 if requests is None else min(self._used_requests, requests.missing(now)),
            tokens=0 if tokens is None else min(self._used_tokens, tokens.missing(now)),
            requests_per_minute=self.limits.requests,
            tokens_per_minute=self.limits.tokens,
        )

    @property
    def is_urgent(self) -> bool:
        """Whether that is so much that the other gateways should not wait for it."""
        requests, tokens = self.limits.requests, self.limits.tokens
        return (requests is not None and self._used_requests >= requests * WORTH_TELLING) or (
            tokens is not None and self._used_tokens >= tokens * WORTH_TELLING
        )

    def told(self) -> None:
        """Note that the other gateways know."""
        self._used_requests = self._used_tokens = 0

    def learn(self, use: KeyUse) -> None:
        """Take off what the key has used at another gateway, whether it is there or not."""
        now = self._clock()
        if self._requests is not None:
            self._requests.give_back(-use.requests, now)
        if self._tokens is not None:
            self._tokens.give_back(-use.tokens, now)

    def begin(self) -> None:
        """Count a request; raises ``RateLimited``."""
        if self._requests is not None:
            self._take(self._requests, 1, "requests")
            self._used_requests += 1
            self._untold.note(self)

    def reserve(self, tokens: int) -> int:
        """Set aside the tokens that a request may take, and return how many that are.

        A guess beyond a whole minute's worth is cut to it: whether it was right, the end tells.
        Raises ``RateLimited``.
        """
        if self._tokens is None:
            return 0
        amount = min(tokens, self._tokens.limit)
        self._take(self._tokens, amount, "tokens")
        self._count_tokens(amount)
        return amount

    def settle(self, reserved: int, used: int) -> None:
        """Replace what was set aside by what was used."""
        if self._tokens is not None:
            self._tokens.give_back(reserved - used, self._clock())
            self._count_tokens(used - reserved)

    def headers(self) -> dict[str, str]:
        """Return what tells a client how much is left, and when all of it will be."""
        now, told = self._clock(), dict[str, str]()
        if self._requests is not None:
            told["x-ratelimit-limit-requests"] = str(self._requests.limit)
            told["x-ratelimit-remaining-requests"] = str(self._requests.remaining(now))
            told["x-ratelimit-reset-requests"] = written_duration(self._requests.reset(now))
        if self._tokens is not None:
            told["x-ratelimit-limit-tokens"] = str(self._tokens.limit)
            told["x-ratelimit-remaining-tokens"] = str(self._tokens.remaining(now))
            told["x-ratelimit-reset-tokens"] = written_duration(self._tokens.reset(now))
        return told

    def _count_tokens(self, amount: int) -> None:
        if amount:
            self._used_tokens += amount
            self._untold.note(self)

    def _take(self, allowance: Allowance, amount: int, unit: str) -> None:
        wait = allowance.draw(amount, self._clock())
        if wait > 0:
            raise RateLimited(
                f"This API key has used up its {allowance.limit} {unit} per minute; "
                f"try again in {written_duration(wait)}.",
                retry_after=wait,
            )


def written_duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: ``120ms``, ``7.5s``, ``6m0s``."""
    milliseconds = max(0, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{shown}s" if minutes else f"{shown}s"
