"""A daily cap on what a paid upstream may cost, in tokens, in dollars or both.

What a call may take at most is reserved before it is made and corrected to what it took afterwards,
so that the cap holds however many calls run at once. The record is a small file that is read and
replaced under a lock at every step: it survives restarts, a crash leaves a reservation counted
rather than forgotten, and several workers on one machine share one cap. There is no fsync, which
would stall the event loop: after a loss of power the record may be some seconds old.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from mesh.errors import BudgetExhausted
from schemas.inference import Usage
from schemas.wire import UNREADABLE, Message, decoder, encode

log = structlog.stdlib.get_logger("mesh.budget")

SECONDS_PER_DAY = 86_400

WallClock = Callable[[], float]
"""Returns seconds since the epoch, as ``time.time`` does."""


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """The caps, the prices and the file that keeps count.

    usd_per_million_in, usd_per_million_out: dollars per million prompt and completion tokens.
    max_output: tokens asked for at most where a request names no limit, since a cap cannot hold
    over an answer without end.
    """

    path: Path
    tokens_per_day: int | None = None
    usd_per_day: float | None = None
    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0
    max_output: int = 4096

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a cap that could never take effect."""
        if self.usd_per_day is not None and not (
            self.usd_per_million_in or self.usd_per_million_out
        ):
            raise ValueError("a daily cap in dollars needs the price per million tokens")

    def cost(self, usage: Usage) -> float:
        """Return what these tokens cost, in dollars."""
        prompt = usage.prompt_tokens * self.usd_per_million_in
        completion = usage.completion_tokens * self.usd_per_million_out
        return (prompt + completion) / 1_000_000


class BudgetRecordInvalid(ValueError):
    """The record of what was spent today cannot be read; nothing is spent until it is mended."""


class Spent(Message, frozen=True, kw_only=True):
    """What one UTC day has taken so far, reservations included."""

    day: str
    tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0


_decoder = decoder(Spent)


class Reservation:
    """What one call may take at most; to be settled once, whatever becomes of the call."""

    def __init__(self, budget: "Budget", day: str, most: Usage) -> None:
        self._budget = budget
        self.day = day
        self.most = most

    def settle(self, taken: Usage) -> None:
        """Replace the reservation by what the call took."""
        self._budget.settle(self, taken)


class Budget:
    """Keeps the day's spending below its caps; raises ``BudgetRecordInvalid`` when made."""

    def __init__(self, settings: BudgetSettings, wall_clock: WallClock = time.time) -> None:
        self.settings = settings
        self._now = wall_clock
        settings.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._spent = self._read()

    @property
    def spent(self) -> Spent:
        """What the day had taken when this process last looked, reservations included."""
        return self._spent

    @property
    def exhausted(self) -> bool:
        """Whether not even the smallest call fits, as far as this process has seen."""
        smallest = Usage(prompt_tokens=1, completion_tokens=1)
        return self._spent.day == self._today() and self._exceeds(self._plus(self._spent, smallest))

    @property
    def renewed_in(self) -> float:
        """Seconds until the next day begins (UTC)."""
        return SECONDS_PER_DAY - self._now() % SECONDS_PER_DAY

    def reserve(self, most: Usage) -> Reservation:
        """Set aside what a call may take; raises ``BudgetExhausted`` if the cap forbids it."""
        try:
            with self._locked():
                spent = self._plus(self._read(), most)
                if self._exceeds(spent):
                    raise BudgetExhausted(retry_after=self.renewed_in)
                self._write(spent)
        except (OSError, BudgetRecordInvalid) as error:
            log.exception("budget.unusable", path=str(self.settings.path))
            raise BudgetExhausted("the record of today's spending cannot be kept") from error
        return Reservation(self, spent.day, most)

    def settle(self, reservation: Reservation, taken: Usage) -> None:
        """Correct a reservation to what was taken; yesterday's are left as they are.

        If the record cannot be written the reservation stays counted: the cap still holds.
        """
        try:
            with self._locked():
                spent = self._read()
                if spent.day == reservation.day:
                    self._write(self._corrected(spent, reservation.most, taken))
        except (OSError, BudgetRecordInvalid):
            log.exception("budget.unusable", path=str(self.settings.path))

    def _exceeds(self, spent: Spent) -> bool:
        tokens, usd = self.settings.tokens_per_day, self.settings.usd_per_day
        return (tokens is not None and spent.tokens > tokens) or (
            usd is not None and spent.usd > usd
        )

    def _plus(self, spent: Spent, usage: Usage) -> Spent:
        return Spent(
            day=spent.day,
            tokens=spent.tokens + usage.prompt_tokens + usage.completion_tokens,
            usd=spent.usd + self.settings.cost(usage),
        )

    def _corrected(self, spent: Spent, reserved: Usage, taken: Usage) -> Spent:
        without = Spent(
            day=spent.day,
            tokens=max(0, spent.tokens - reserved.prompt_tokens - reserved.completion_tokens),
            usd=max(0.0, spent.usd - self.settings.cost(reserved)),
        )
        return self._plus(without, taken)

    def _today(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).date().isoformat()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A file of its own: replacing the record would take the lock away with the old one.
        with self.settings.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> Spent:
        today = self._today()
        try:
            spent = _decoder.decode(self.settings.path.read_bytes())
        except FileNotFoundError:
            return Spent(day=today)
        except UNREADABLE as error:
            raise BudgetRecordInvalid(
                f"{self.settings.path} is damaged ({error}); "
                "remove it to start counting today's spending from zero"
            ) from error
        return spent if spent.day == today else Spent(day=today)

    def _write(self, spent: Spent) -> None:
        draft = self.settings.path.with_suffix(".tmp")
        draft.write_bytes(encode(spent))
        draft.replace(self.settings.path)
        self._spent = spent
