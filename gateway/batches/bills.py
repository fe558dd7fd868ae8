"""What was set aside for a job that may go to the cloud, and what it cost in the end. Pure.

The most that a job can cost is set aside before it may go there, and what that was travels in the
note of the job. So whoever sees to the line next finds it with the job. It is corrected once the
line is committed, which one gateway alone can do, once. Whoever dies in between leaves it counted
as it was set aside: too much, and never too little.
"""

from dataclasses import dataclass

from gateway.pricing import dearest, price
from schemas.fleet import Tariff, Tier
from schemas.inference import InferRequest
from schemas.jobs import JobRecord
from schemas.wire import UNREADABLE, Message, decoder, encode


class Due(Message, frozen=True, kw_only=True):
    """What was set aside for one job: billionths of a dollar of an account.

    tariff: by which it was reckoned. mark: of this reservation alone.
    """

    account: str
    nano_usd: int
    tariff: Tariff
    mark: str


@dataclass(frozen=True)
class Bill:
    """What a job cost of what was set aside for it, in billionths of a dollar."""

    due: Due
    nano_usd: int


@dataclass(frozen=True)
class Funded:
    """A request with the policy that the budget leaves it, and what was set aside for it."""

    request: InferRequest
    due: Due | None = None

    @property
    def note(self) -> str:
        """The note of the job."""
        return "" if self.due is None else encode(self.due).decode()


_dues = decoder(Due)


def due_of(record: JobRecord) -> Due | None:
    """Return what was set aside for a job, ``None`` if nothing was."""
    try:
        return _dues.decode(record.note) if record.note else None
    except UNREADABLE:
        return None  # submitted by somebody else under the name of a line


def cost(record: JobRecord, due: Due, tariff: Tariff | None) -> int:
    """Return what a job cost; ``tariff``: of its model now, if it is known.

    An attempt in the cloud that gave no answer counts as it might have cost.
    """
    result, begun = record.result, record.cloud_attempts
    if result is None or result.tier is Tier.EDGE:
        return due.nano_usd * begun
    highest = dearest([due.tariff] if tariff is None else [due.tariff, tariff]) or due.tariff
    return due.nano_usd * max(0, begun - 1) + price(highest, result.usage)
