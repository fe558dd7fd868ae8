"""What a batch may spend in the cloud, within its key's budget for the day."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

import anyio
from msgspec.structs import replace

from gateway.batches.bills import Bill, Due, Funded, cost, due_of
from gateway.batches.kept import BatchRecord
from gateway.batches.parts import LineResult
from gateway.pricing import most, price
from gateway.quotas import unpriced
from gateway.reception import House
from gateway.spending import Reservation, Spending
from mesh.errors import BudgetExhausted
from schemas.fleet import Tariff, Tier
from schemas.inference import InferRequest, Policy
from schemas.jobs import JobRecord
from schemas.wire import encode

ATTEMPTS: Final = 1
"""In the cloud, of one job: what is set aside is enough for one."""
LOOK_EVERY: Final = 5.0
"""Seconds after which a line looks again whether there is something left for it."""


class Purse:
    """The budget of one batch's key, as its driver uses it."""

    def __init__(self, house: House, key: str, usd_per_day: float) -> None:
        self._house, self._key, self._usd_per_day = house, key, usd_per_day
        self._holders: set[int] = set()
        """Places of lines for which something is set aside that may come back."""
        self._changed = anyio.Event()

    async def fund(self, place: int, requests: Sequence[InferRequest]) -> list[Funded]:
        """Set aside what requests of a line may cost, all or nothing.

        Those that the edge can serve are held to it where the budget is used up. Others wait while
        lines of this batch hold what may be too much for them, and are refused after that. Raises
        ``BudgetExhausted``, and ``NoCapacity`` where nobody says what the cloud costs.
        """
        while True:
            try:
                return await self._set_aside(place, requests)
            except BudgetExhausted:
                if self._edge_may_do(requests):
                    return _at_the_edge(requests)
                if not self._holders - {place}:
                    raise
            with anyio.move_on_after(LOOK_EVERY):
                await self._changed.wait()

    def committed(self, results: Iterable[LineResult]) -> None:
        """Correct what was set aside for lines that are committed."""
        for result in results:
            for bill in result.bills:
                self._settle(bill)
            self._holders.discard(result.place)
        self._changed.set()
        self._changed = anyio.Event()

    def bill(self, record: JobRecord, own: Due | None) -> tuple[Bill, ...]:
        """Return what a job cost that has ended.

        ``own``: what was set aside here; not needed if the job was somebody else's before.
        """
        due = self._due_of(record)
        bills = () if due is None else (Bill(due, self._cost(record, due)),)
        is_needed = own is None or (due is not None and due.mark == own.mark)
        return bills if is_needed or own is None else (*bills, Bill(own, 0))

    def _due_of(self, record: JobRecord) -> Due | None:
        """Return what was set aside for a job, of this key; notes may come from anybody."""
        due = due_of(record)
        return due if due is not None and due.account.startswith(f"{self._key}.") else None

    def _cost(self, record: JobRecord, due: Due) -> int:
        model = "" if record.result is None else record.result.model
        return cost(record, due, self._house.quotas.tariff(model))

    def _settle(self, bill: Bill) -> None:
        if self._house.quotas.spending is not None:
            reservation = Reservation(bill.due.account, bill.due.nano_usd)
            self._house.quotas.spending.settle(reservation, bill.nano_usd)

    async def _set_aside(self, place: int, requests: Sequence[InferRequest]) -> list[Funded]:
        if not requests:
            return []
        model = requests[0].model
        tariff, spending = self._house.quotas.tariff(model), self._house.quotas.spending
        if tariff is None or spending is None:
            if self._edge_may_do(requests):
                return _at_the_edge(requests)
            raise unpriced(model)
        return await self._reserve(spending, tariff, place, requests)

    async def _reserve(
        self, spending: Spending, tariff: Tariff, place: int, requests: Sequence[InferRequest]
    ) -> list[Funded]:
        amounts = [price(tariff, most(each, len(encode(each)), tariff)) for each in requests]
        whole = await spending.reserve(self._key, sum(amounts), self._usd_per_day)
        self._holders.add(place)
        return [
            Funded(
                replace(request, cloud_attempts=ATTEMPTS),
                Due(
                    account=whole.account,
                    nano_usd=amount,
                    tariff=tariff,
                    mark=secrets.token_hex(8),
                ),
            )
            for request, amount in zip(requests, amounts, strict=True)
        ]

    def _edge_may_do(self, requests: Sequence[InferRequest]) -> bool:
        """Tell whether a line may go to the edge, and somebody there has its model."""
        first = requests[0]
        if first.policy is Policy.CLOUD_ONLY:
            return False
        return self._house.fleet.remembers(first.model, (Tier.EDGE,))


def _at_the_edge(requests: Sequence[InferRequest]) -> list[Funded]:
    return [Funded(replace(request, policy=Policy.EDGE_ONLY)) for request in requests]


def purse_of(house: House, record: BatchRecord) -> Purse | None:
    """Return the budget of a batch, ``None`` if there is none or the cloud is never reached."""
    if record.cloud_usd_per_day is None or record.policy is Policy.EDGE_ONLY:
        return None
    return Purse(house, record.key, record.cloud_usd_per_day)
