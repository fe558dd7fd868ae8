"""Requests and tokens per minute of one API key: counted here, told in OpenAI's headers.

Each limit is a bucket that holds a minute's worth and refills evenly. The count is this gateway's
own: a question to the broker before every request would cost more than the limits are worth.
"""

import math
from typing import Final

from gateway.auth import Caller
from gateway.problems import RateLimited
from mesh.clock import Clock

MINUTE: Final = 60.0


class Allowance:
    """So many units per minute; pure, in seconds of the caller's clock."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return seconds until so much is there, 0 if it is; more than the limit never is."""
        lacking = amount - self._refilled(now)
        return max(0.0, lacking) * MINUTE / self.limit

    def take(self, amount: float, now: float) -> None:
        """Use up an amount; what was not there is missing later."""
        self._level = self._refilled(now) - amount

    def give_back(self, amount: float, now: float) -> None:
        """Return what was taken and not used; a negative amount takes what was used beyond."""
        self._level = min(float(self.limit), self._refilled(now) + amount)

    def remaining(self, now: float) -> int:
        """Return how much is there."""
        return max(0, math.floor(self._refilled(now)))

    def reset(self, now: float) -> float:
        """Return seconds until all of it is there again."""
        return (self.limit - self._refilled(now)) * MINUTE / self.limit

    def _refilled(self, now: float) -> float:
        self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / MINUTE)
        self._at = now
        return self._level


class Meter:
    """What one key may still do within the minute."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        now = clock()
        self._clock = clock
        requests, tokens = self._limits = caller.requests_per_minute, caller.tokens_per_minute
        self._requests = None if requests is None else Allowance(requests, now)
        self._tokens = None if tokens is None else Allowance(tokens, now)

    def is_of(self, caller: Caller) -> bool:
        """Tell whether these are still the limits of a caller."""
        return self._limits == (caller.requests_per_minute, caller.tokens_per_minute)

    def begin(self) -> None:
        """Count a request; raises ``RateLimited``."""
        if self._requests is not None:
            self._take(self._requests, 1, "requests")

    def reserve(self, tokens: int) -> int:
        """Set aside the tokens that a request may take, and return how many that are.

        A guess beyond a whole minute's worth is cut to it: whether it was right, the end tells.
        Raises ``RateLimited``.
        """
        if self._tokens is None:
            return 0
        amount = min(tokens, self._tokens.limit)
        self._take(self._tokens, amount, "tokens")
        return amount

    def settle(self, reserved: int, used: int) -> None:
        """Replace what was set aside by what was used."""
        if self._tokens is not None:
            self._tokens.give_back(reserved - used, self._clock())

    def headers(self) -> dict[str, str]:
        """Return what tells a client how much is left, and when all of it will be."""
        now, told = self._clock(), dict[str, str]()
        for name, allowance in (("requests", self._requests), ("tokens", self._tokens)):
            if allowance is not None:
                told[f"x-ratelimit-limit-{name}"] = str(allowance.limit)
                told[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining(now))
                told[f"x-ratelimit-reset-{name}"] = written_duration(allowance.reset(now))
        return told

    def _take(self, allowance: Allowance, amount: int, unit: str) -> None:
        now = self._clock()
        wait = allowance.wait(amount, now)
        if wait > 0:
            raise RateLimited(
                f"This API key has used up its {allowance.limit} {unit} per minute; "
                f"try again in {written_duration(wait)}.",
                retry_after=wait,
            )
        allowance.take(amount, now)


def written_duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: ``120ms``, ``7.5s``, ``6m0s``."""
    milliseconds = max(0, math.ceil(seconds * 1000))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{shown}s" if minutes else f"{shown}s"
