"""What each API key spends in the cloud per day: one account per key, shared by all gateways.

The most that a request can cost is reserved before it is sent anywhere, and corrected afterwards,
so the budget holds however many requests run at once on however many gateways. An account is an
entry of a bucket, changed by compare-and-set. While one change is under way further ones gather,
and go together in the next: a hundred requests at once are two or three changes, not a hundred.

Whatever goes wrong errs towards less spending: a gateway that dies leaves its reservations counted
until the day ends, and a broker that cannot be reached grants nothing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from gateway.pricing import NANO
from mesh.buckets import Bucket, Entry
from mesh.errors import BudgetExhausted, Conflict, MeshError
from mesh.inbox import Switchboard
from mesh.keys import SPENDING
from schemas.keys import Spent
from schemas.wire import UNREADABLE, decoder, encode

log = structlog.get_logger("gateway.spending")

SECONDS_PER_DAY: Final = 86_400
ANSWER_WITHIN: Final = 2.0
MAX_TRIES: Final = 100
"""Changes lost in a row to other gateways; one of them succeeds each time."""
MAX_KNOWN: Final = 10_000
"""Accounts remembered between changes; they are read again where they are not."""

_spent = decoder(Spent)


@dataclass(frozen=True, eq=False)
class Reservation:
    """What a request may cost at most, in billionths of a dollar, and the account it is from."""

    account: str
    amount: int


@dataclass(frozen=True, eq=False)
class _Posting:
    """A change that waits to be made; ``limit`` is ``None`` for corrections, which always are."""

    amount: int
    limit: int | None
    granted: asyncio.Future[bool]


def admit(balance: int, postings: Sequence[tuple[int, int | None]]) -> tuple[list[bool], int]:
    """Return which changes (amount, limit) are made to a balance in order, and what it is then.

    Corrections come first, since they may make room; a change beyond its limit is not made.
    """
    made = [limit is None for _, limit in postings]
    balance += sum(amount for amount, limit in postings if limit is None)
    for index, (amount, limit) in enumerate(postings):
        if limit is not None and balance + amount <= limit:
            made[index] = True
            balance += amount
    return made, max(0, balance)


class Spending:
    """The accounts of all keys, as this gateway uses them."""

    def __init__(self, bus: Switchboard, wall_clock: Callable[[], float] = time.time) -> None:
        self._bucket = Bucket(bus, SPENDING, ANSWER_WITHIN)
        self._now = wall_clock
        self._pending: dict[str, list[_Posting]] = {}
        self._known: dict[str, Entry] = {}
        self._wake = asyncio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Make the changes until cancelled; what is known by then is still written."""
        task_status.started()
        try:
            while True:
                await self._wake.wait()
                await self._make_changes()
        finally:
            with anyio.move_on_after(ANSWER_WITHIN, shield=True):
                await self._make_changes()

    async def reserve(self, key: str, nano_usd: int, usd_per_day: float) -> Reservation:
        """Set aside what a request may cost; raises ``BudgetExhausted`` if the day's rest is less.

        A caller that is cancelled meanwhile has reserved nothing.
        """
        now = self._now()
        account = f"{key}.{datetime.fromtimestamp(now, UTC).date().isoformat()}"
        granted = self._post(account, nano_usd, int(usd_per_day * NANO))
        try:
            is_granted = await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.result():
                self._post(account, -nano_usd, None)  # granted in the moment of the cancellation
            raise
        if not is_granted:
            raise BudgetExhausted(
                f"this API key's cloud budget of {usd_per_day:g} USD for today is used up",
                retry_after=SECONDS_PER_DAY - now % SECONDS_PER_DAY,
            )
        return Reservation(account, nano_usd)

    def settle(self, reservation: Reservation, nano_usd: int) -> None:
        """Replace a reservation by what was spent."""
        if nano_usd != reservation.amount:
            self._post(reservation.account, nano_usd - reservation.amount, None)

    def _post(self, account: str, amount: int, limit: int | None) -> asyncio.Future[bool]:
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.setdefault(account, []).append(_Posting(amount, limit, granted))
        self._wake.set()
        return granted

    async def _make_changes(self) -> None:
        self._wake.clear()
        while self._pending:
            account = next(iter(self._pending))
            postings = self._pending.pop(account)
            made = [False] * len(postings)
            try:
                made = await self._change(account, postings)
            except MeshError as error:
                # It may have been made all the same: then too much is counted, never too little.
                self._known.pop(account, None)
                log.error("spending.unkept", account=account, reason=error.message)
            finally:
                self._tell(account, postings, made)

    async def _change(self, account: str, postings: Sequence[_Posting]) -> list[bool]:
        """Make the changes that fit, and return which; nothing is refused by old knowledge."""
        terms = [(posting.amount, posting.limit) for posting in postings]
        entry, fresh = self._known.get(account), False
        for _ in range(MAX_TRIES):
            if entry is None:
                entry, fresh = await self._bucket.peek(account), True
            balance = _balance(entry)
            made, total = admit(balance, terms)
            if not all(made) and not fresh:
                entry = None
                continue
            if total == balance:
                return made
            with suppress(Conflict):
                await self._write(account, total, entry)
                return made
            entry = None
        raise Conflict(f"{MAX_TRIES} changes in a row were lost to other gateways")

    async def _write(self, account: str, total: int, entry: Entry | None) -> None:
        value = encode(Spent(nano_usd=total))
        revision = await self._bucket.update(account, value, entry.revision if entry else 0)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[account] = Entry(account, value, revision)

    def _tell(self, account: str, postings: Sequence[_Posting], made: Sequence[bool]) -> None:
        for posting, granted in zip(postings, made, strict=True):
            if not posting.granted.cancelled():
                posting.granted.set_result(granted)
            elif granted and posting.limit is not None:
                self._post(account, -posting.amount, None)


def _balance(entry: Entry | None) -> int:
    if entry is None:
        return 0
    try:
        return _spent.decode(entry.value).nano_usd
    except UNREADABLE as error:
        raise BudgetExhausted("the record of today's spending is damaged") from error
