"""Placement: where a request goes now. Pure; the clock and the fleet are handed in.

Best predicted finish wins; equals are told apart by load, then at random. The cloud is used for a
stated reason only, and never under ``edge-only``. A background request takes idle slots alone, and
no amount of waiting is a reason for it: only that the edge cannot do it, or not in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mesh.demand import Demand, Line
from mesh.errors import (
    ContextLengthExceeded,
    MeshError,
    ModelNotFound,
    NoCapacity,
    QueueFull,
    Unsupported,
)
from mesh.estimate import finish_time
from mesh.fleet import Fleet
from mesh.pace import come_back
from mesh.prefix import longest_held
from mesh.ranking import best, predict
from mesh.seats import SAMPLE, Seat
from schemas.fleet import ModelState, Tier
from schemas.inference import Ability, Policy, Urgency


class Fallback(StrEnum):
    """Why a request went to the cloud."""

    NO_MODEL = "no_model"
    DEADLINE = "deadline"
    QUEUE_DEPTH = "queue_depth"
    WAIT = "wait"
    EDGE_FAILED = "edge_failed"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When waiting is too much.

    queue_threshold: waiting requests per model from which the cloud is asked; ``None`` means the
    model's total slots. queue_limit: waiting requests per model from which new ones are refused.
    """

    queue_threshold: int | None = None
    queue_limit: int = 256


class Dispatch(msgspec.Struct, frozen=True):
    """Send the request to this worker."""

    seat: Seat


class Overflow(msgspec.Struct, frozen=True):
    """Send the request to this cloud worker, for this reason."""

    seat: Seat
    reason: Fallback


class Wait(msgspec.Struct, frozen=True):
    """No slot is free; stand in line."""


WAIT = Wait()


class Reject(msgspec.Struct, frozen=True):
    """Answer the request with this error."""

    error: MeshError


Decision = Dispatch | Overflow | Wait | Reject


def place(
    demand: Demand, fleet: Fleet, now: float, waiting: int = 0, limits: Limits | None = None
) -> Decision:
    """Decide where a request goes; ``waiting`` counts the requests of its model before it."""
    limits = limits or Limits()
    if demand.policy is Policy.CLOUD_ONLY:
        return _place_in_cloud(demand, fleet, waiting, limits)
    free = _with_room(demand, fleet, Tier.EDGE)
    if free and demand.edge_attempts < demand.max_edge_attempts:
        finish, seat = best(demand, free)
        if _sooner_in_line(demand, fleet, seat, finish, waiting):
            return _all_busy(
                demand, fleet, _fitting(demand, fleet, Tier.EDGE), now, waiting, limits
            )
        if finish > demand.deadline - now:
            cloud = _cloud_in_time(demand, fleet, now)
            if cloud is not None:
                return Overflow(cloud, Fallback.DEADLINE)
        return Dispatch(seat)
    edge = _fitting(demand, fleet, Tier.EDGE)
    if not edge or demand.edge_attempts >= demand.max_edge_attempts:
        return _without_edge(demand, fleet)
    return _all_busy(demand, fleet, edge, now, waiting, limits)


def shortest_run(demand: Demand, fleet: Fleet, output_tokens: int) -> float:
    """Return predicted seconds on the fastest worker that could take the request, once it has."""
    runs = [
        finish_time(seat.status, demand.prompt_tokens, output_tokens)
        for tier in demand.tiers
        for seat in _fitting(demand, fleet, tier)
    ]
    return min(runs) if runs else 0.0


def _sooner_in_line(demand: Demand, fleet: Fleet, seat: Seat, finish: float, waiting: int) -> bool:
    """Tell whether waiting for a loaded model beats having it loaded somewhere else as well."""
    if seat.status.state is ModelState.READY:
        return False
    fitting = _fitting(demand, fleet, Tier.EDGE)
    ready = [other for other in fitting if other.status.state is ModelState.READY]
    if not ready:
        return False
    slots = sum(other.status.slots for other in ready)
    return _time_until_turn(demand, ready, slots, waiting) + best(demand, ready)[0] < finish


def _all_busy(
    demand: Demand, fleet: Fleet, edge: Sequence[Seat], now: float, waiting: int, limits: Limits
) -> Decision:
    slots = fleet.group(demand.model, Tier.EDGE).slots
    # Mostly no cloud has room, and what only it would need is not worked out.
    if demand.policy is Policy.EDGE_FIRST and fleet.group(demand.model, Tier.CLOUD).open:
        threshold = slots if limits.queue_threshold is None else limits.queue_threshold
        turn = _time_until_turn(demand, edge, slots, waiting)
        if now + turn + best(demand, edge)[0] > demand.deadline:
            cloud = _cloud_in_time(demand, fleet, now)
            if cloud is not None:
                return Overflow(cloud, Fallback.DEADLINE)
        overdue = demand.line is Line.OVERDUE
        impatient = overdue or (demand.line is Line.ARRIVING and waiting >= threshold)
        if impatient and demand.urgency is Urgency.INTERACTIVE:
            cloud = _free_cloud(demand, fleet)
            if cloud is not None:
                return Overflow(cloud, Fallback.WAIT if overdue else Fallback.QUEUE_DEPTH)
    if _is_full(demand, waiting, limits):
        return _full(demand, waiting, _time_until_turn(demand, edge, slots, waiting))
    return WAIT


def _is_full(demand: Demand, waiting: int, limits: Limits) -> bool:
    return demand.line is Line.ARRIVING and waiting >= limits.queue_limit


def _full(demand: Demand, waiting: int, turn: float) -> Reject:
    return Reject(
        QueueFull(
            f"{waiting} requests are already waiting for {demand.model}; retry later",
            retry_after=come_back(turn),
        )
    )


def _place_in_cloud(demand: Demand, fleet: Fleet, waiting: int, limits: Limits) -> Decision:
    free = _with_room(demand, fleet, Tier.CLOUD)
    if free:
        return Dispatch(best(demand, free)[1])
    if not _fitting(demand, fleet, Tier.CLOUD):
        return _nobody(demand, fleet)
    return _full(demand, waiting, turn=1.0) if _is_full(demand, waiting, limits) else WAIT


def _without_edge(demand: Demand, fleet: Fleet) -> Decision:
    if demand.digest:
        return Reject(NoCapacity(f"no other worker holds the same file of {demand.model}"))
    if demand.policy is Policy.EDGE_ONLY:
        return _nobody(demand, fleet)
    free = _with_room(demand, fleet, Tier.CLOUD)
    if not free:
        fitting = _fitting(demand, fleet, Tier.CLOUD)
        return WAIT if fitting else _nobody(demand, fleet)
    if not (fleet.is_counted or demand.edge_attempts):
        return WAIT  # the edge may not have been heard yet
    reason = Fallback.EDGE_FAILED if demand.edge_attempts else Fallback.NO_MODEL
    return Overflow(best(demand, free)[1], reason)


def _nobody(demand: Demand, fleet: Fleet) -> Decision:
    """Explain why no worker can ever take the request, or wait for one that was there lately."""
    name = demand.model
    seats = [seat for tier in demand.tiers for seat in fleet.seats(name, tier)]
    if not seats:
        if not fleet.settled or fleet.remembers(name, demand.tiers):
            return WAIT
        if fleet.is_empty:
            return Reject(
                NoCapacity("no worker is up; start one with `mesh worker`", retry_after=5.0)
            )
        where = " or ".join(demand.tiers)
        return Reject(ModelNotFound(f"no {where} worker serves the model {name!r}", param="model"))
    if demand.excluded:
        return Reject(NoCapacity(f"every worker that serves {name} failed", retry_after=1.0))
    lacks = [lack for seat in seats if (lack := _lacking(demand, seat)) is not None]
    if len(lacks) == len(seats):
        need, param = lacks[0]
        what = need if param == "model" else param
        return Reject(Unsupported(f"no worker of {name} supports {what}{_why(need)}", param=param))
    able = [seat for seat in seats if _lacking(demand, seat) is None]
    usable = [seat for seat in able if seat.status.state is not ModelState.FAILED]
    context = max((seat.status.context for seat in usable), default=0)
    if usable and context and demand.longest >= context:
        return Reject(
            ContextLengthExceeded(
                f"the prompt has about {demand.prompt_tokens} tokens, "
                f"the largest context of {name} is {context}",
                param="messages",
            )
        )
    detail = next((seat.status.detail for seat in able if seat.status.detail), "")
    reason = f": {detail}" if detail else ""
    return Reject(NoCapacity(f"no worker of {name} is ready{reason}", retry_after=5.0))


def _with_room(demand: Demand, fleet: Fleet, tier: Tier) -> Sequence[Seat]:
    """Return seats that could start now; of very many a sample, unless none of it fits.

    Those that hold the conversation's longest prefix come first, sampled or not.
    """
    group = fleet.group(demand.model, tier)
    room = group.room(demand.urgency)
    if not room:
        return ()
    if len(room) == 1:
        return [seat for seat in room if _fits(demand, seat)]
    link = longest_held(demand.prefixes, group.holders) if group.holders else None
    holders = [] if link is None else [s for s in group.holders[link.fingerprint] if s in room]
    seats = dict.fromkeys((*holders[:SAMPLE], *group.with_room(demand.urgency)))
    fitting = [seat for seat in seats if _fits(demand, seat)]
    return fitting or [seat for seat in room if _fits(demand, seat)]


def _fitting(demand: Demand, fleet: Fleet, tier: Tier) -> Sequence[Seat]:
    """Return seats that could take the request in the end; sampled in the same way."""
    group = fleet.group(demand.model, tier)
    if not group.seats:
        return ()
    fitting = [seat for seat in group.any() if _fits(demand, seat)]
    return fitting or [seat for seat in group.seats if _fits(demand, seat)]


def _fits(demand: Demand, seat: Seat) -> bool:
    status = seat.status
    if status.state is ModelState.FAILED or seat.node.advert.draining:
        return False
    if demand.digest not in ("", status.digest):
        return False
    # The prompt length is a guess: only what is clearly too long is ruled out here, the worker
    # counts exactly.
    if status.context and demand.longest > 1.5 * status.context:
        return False
    if demand.excluded and seat.node.key in demand.excluded:
        return False
    return not demand.needs or _lacking(demand, seat) is None


def _lacking(demand: Demand, seat: Seat) -> tuple[Ability, str] | None:
    """Return the first ability that a seat has not, with the field that asks for it."""
    abilities = seat.status.abilities
    return next((need for need in demand.needs.items() if need[0] not in abilities), None)


def _why(lacking: Ability) -> str:
    """Return the reason where the name of the field does not say it."""
    if lacking is Ability.SUFFIX:
        return ": only models with tokens for filling in the middle do"
    return ""


def _time_until_turn(demand: Demand, seats: Sequence[Seat], slots: int, waiting: int) -> float:
    """Return predicted seconds until a newcomer gets a slot.

    Slots turn over independently, each once per typical request, so the first of ``slots`` comes
    free after ``typical / slots`` on average, and each request ahead takes another such step.
    """
    ahead = 0 if demand.line is not Line.ARRIVING else waiting
    typical = sum(predict(demand, seat) for seat in seats) / len(seats)
    return typical * (ahead + 1) / max(1, slots)


def _free_cloud(demand: Demand, fleet: Fleet) -> Seat | None:
    if demand.policy is Policy.EDGE_ONLY:
        return None
    free = _with_room(demand, fleet, Tier.CLOUD)
    return best(demand, free)[1] if free else None


def _cloud_in_time(demand: Demand, fleet: Fleet, now: float) -> Seat | None:
    seat = _free_cloud(demand, fleet)
    if seat is None or predict(demand, seat) > demand.deadline - now:
        return None
    return seat
