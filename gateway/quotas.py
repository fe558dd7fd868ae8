"""What an API key's limits mean for one request: may it begin, may it use the cloud, what it took.

Requests of keys without limits pass through here without any work.
"""

from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import msgspec
from aiohttp import web

from gateway.auth import Caller
from gateway.pricing import dearest, most, price
from gateway.rates import Limits, Meter, Untold
from gateway.spending import Reservation, Spending
from mesh import estimate
from mesh.answer import Answer, Frames
from mesh.clock import Clock, monotonic
from mesh.errors import (
    BudgetExhausted,
    CapacityError,
    ContextLengthExceeded,
    ModelNotFound,
    NoCapacity,
    Unsupported,
)
from mesh.fleet import Fleet
from schemas.fleet import Tariff, Tier
from schemas.inference import InferRequest, Policy, Task, Usage
from schemas.keys import KeyUse

METER: Final = web.RequestKey("meter", Meter)
"""Where a request of a limited key keeps its meter; its answer tells how much is left."""
UNSERVED: Final = (CapacityError, ModelNotFound, Unsupported, ContextLengthExceeded)
"""What the edge answers to a request that it cannot serve and the cloud perhaps could."""


@dataclass(kw_only=True)
class Stay:
    """One request that was let in: on what terms, and how it ended.

    request: with the policy that the key's budget leaves it. tokens: set aside of the minute's.
    broke: the cloud is left out because its budget is used up.
    """

    request: InferRequest
    meter: Meter | None = None
    tokens: int = 0
    reservation: Reservation | None = None
    tariff: Tariff | None = None
    broke: BudgetExhausted | None = None
    answer: Answer | None = None

    def follow(self, answer: Answer) -> None:
        """Have a request that the edge cannot serve told why the cloud was not asked."""
        self.answer = answer
        if self.broke is not None:
            broke = self.broke
            answer.wrap(lambda frames: _explained(frames, broke))

    @property
    def usage(self) -> Usage | None:
        """What the answer took, ``None`` until that is known."""
        return None if self.answer is None else self.answer.usage

    @property
    def used(self) -> int:
        """Tokens that count; those of an answer that broke off are as guessed."""
        if self.usage is not None:
            return self.usage.prompt_tokens + self.usage.completion_tokens
        return 0 if self.answer is None or self.answer.route is None else self.tokens

    @property
    def cost(self) -> int:
        """Billionths of a dollar; a cloud attempt that was lost counts as it might have cost."""
        answer = self.answer
        if self.reservation is None or self.tariff is None or answer is None:
            return 0
        lost = answer.cloud_attempts
        if self.usage is None or answer.route is None or answer.route.tier is Tier.EDGE:
            return self.reservation.amount * lost
        return self.reservation.amount * (lost - 1) + price(self.tariff, self.usage)


class Quotas:
    """The limits of all keys, as one gateway keeps them."""

    def __init__(
        self, fleet: Fleet, spending: Spending | None = None, clock: Clock = monotonic
    ) -> None:
        """``spending``: where cloud budgets are kept; without it no budget grants anything."""
        self._fleet, self.spending, self._clock = fleet, spending, clock
        self._meters: dict[str, Meter] = {}
        self.untold = Untold()
        """Whose use the other gateways do not know of yet."""

    def enter(self, caller: Caller, request: web.Request) -> None:
        """Count a request that has come in; raises ``RateLimited``."""
        if caller.requests_per_minute is not None or caller.tokens_per_minute is not None:
            meter = request[METER] = self._meter_of(caller)
            meter.begin()

    def stay(
        self, caller: Caller, meter: Meter | None, request: InferRequest, size: int
    ) -> "Staying":
        """Reserve inside the context what a request may take; ``size``: bytes of its body."""
        return Staying(self, caller, Stay(request=request, meter=meter), size)

    def meter(self, key: str, limits: Limits) -> Meter:
        """Return a key's meter, a new one if it has none with these limits."""
        meter = self._meters.get(key)
        if meter is None or meter.limits != limits:
            meter = self._meters[key] = Meter(key, limits, self._clock, self.untold)
        return meter

    def learn(self, use: KeyUse) -> None:
        """Take off what a key has used at another gateway.

        Its limits as told there count only while nobody has used it here: what others say takes
        away from what a key may do, and never gives it a new minute.
        """
        told = Limits(requests=use.requests_per_minute, tokens=use.tokens_per_minute)
        meter = self._meters.get(use.key) or self.meter(use.key, told)
        meter.learn(use)

    def _meter_of(self, caller: Caller) -> Meter:
        """Return a caller's meter; it is seldom another one than the last request's."""
        meter = self._meters.get(caller.key)
        if meter is not None:
            limits = meter.limits
            if (limits.requests, limits.tokens) == caller.per_minute:
                return meter
        return self.meter(caller.key, Limits.of(caller))

    def tariff(self, model: str) -> Tariff | None:
        """Return what a model costs in the cloud at most; ``None`` if nobody says, or serves it."""
        seats = self._fleet.seats(model, Tier.CLOUD)
        return dearest([seat.status.tariff for seat in seats])

    async def reserve(self, stay: Stay, key: str, usd_per_day: float, size: int) -> None:
        """Set aside what a request may cost in the cloud, or leave the cloud out."""
        tariff = self.tariff(stay.request.model)
        if tariff is None or self.spending is None:
            _leave_out_cloud(stay, None)
            return
        amount = price(tariff, most(stay.request, size, tariff))
        try:
            stay.reservation = await self.spending.reserve(key, amount, usd_per_day)
            stay.tariff = tariff
        except BudgetExhausted as error:
            _leave_out_cloud(stay, error)

    def settle(self, stay: Stay) -> None:
        """Replace what was set aside by what was used."""
        if stay.meter is not None:
            stay.meter.settle(stay.tokens, stay.used)
        if stay.reservation is not None and self.spending is not None:
            self.spending.settle(stay.reservation, stay.cost)


class Staying:
    """The context of a request that was let in: what it took is settled, however it ends.

    Entering raises ``RateLimited``; ``BudgetExhausted`` for a request that may go to the cloud only
    and has no budget left for that.
    """

    __slots__ = ("_caller", "_quotas", "_size", "_stay")

    def __init__(self, quotas: Quotas, caller: Caller, stay: Stay, size: int) -> None:
        self._quotas, self._caller, self._stay, self._size = quotas, caller, stay, size

    async def __aenter__(self) -> Stay:
        stay, usd_per_day = self._stay, self._caller.cloud_usd_per_day
        if stay.meter is not None:
            stay.tokens = stay.meter.reserve(_guess(stay.request))
        if usd_per_day is not None and stay.request.policy is not Policy.EDGE_ONLY:
            try:
                await self._quotas.reserve(stay, self._caller.key, usd_per_day, self._size)
            except BaseException:
                self._quotas.settle(stay)
                raise
        return stay

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._quotas.settle(self._stay)


async def show_limits(request: web.Request, response: web.StreamResponse) -> None:
    """Tell a limited key how much is left; called by the application before it answers."""
    meter = request.get(METER)
    if meter is not None:
        response.headers.update(meter.headers())


def _leave_out_cloud(stay: Stay, broke: BudgetExhausted | None) -> None:
    """Hold a request to the edge; raises for one that may not go there.

    ``broke`` is ``None`` where nobody has said what tokens cost: no budget in dollars can hold
    there.
    """
    if stay.request.policy is Policy.CLOUD_ONLY:
        raise broke or unpriced(stay.request.model)
    stay.request = msgspec.structs.replace(stay.request, policy=Policy.EDGE_ONLY)
    stay.broke = broke


def unpriced(model: str) -> NoCapacity:
    """Return the error of a request for the cloud alone whose price cannot be known."""
    return NoCapacity(
        f"no cloud worker of {model} says what its tokens cost, and this API key has a budget",
        retry_after=5.0,
    )


def _guess(request: InferRequest) -> int:
    prompt = estimate.usual_prompt(estimate.prompt_chars(request), len(request.messages))
    if request.task is not Task.GENERATE:
        return prompt
    limit = request.max_tokens
    return prompt + request.n * (estimate.DEFAULT_OUTPUT_TOKENS if limit is None else limit)


async def _explained(frames: Frames, broke: BudgetExhausted) -> Frames:
    async with aclosing(frames):
        try:
            async for frame in frames:
                yield frame
        except UNSERVED as error:
            raise broke from error
