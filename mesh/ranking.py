"""Which of several seats would have a request done first."""

import random
from collections.abc import Sequence

from mesh import estimate
from mesh.demand import Demand
from mesh.prefix import longest_held
from mesh.seats import Seat
from schemas.fleet import ModelState

LOYALTY = 1.5
"""A conversation stays where its prefix is held unless another worker would be this much faster:
measured rates are noisy, and moving it computes the prefix anew and evicts somebody else's."""


def predict(demand: Demand, seat: Seat) -> float:
    """Return predicted seconds to finish, the warm prefix counted in."""
    link = longest_held(demand.prefixes, seat.warm) if seat.warm else None
    warm = 0 if link is None else link.tokens
    return estimate.finish_time(seat.status, demand.prompt_tokens, demand.output_tokens, warm)


def best(demand: Demand, seats: Sequence[Seat]) -> tuple[float, Seat]:
    """Return the smallest predicted seconds to finish, and the seat.

    A loaded model comes before one that still loads; ties are broken by load, then by chance. The
    worker that holds the conversation so far keeps it, see ``LOYALTY``.
    """
    if len(seats) == 1:
        return predict(demand, seats[0]), seats[0]
    finish, fastest = _fastest(demand, seats)
    holders = [seat for seat in seats if _holds_conversation(demand, seat)]
    if not holders or fastest in holders:
        return finish, fastest
    loyal_finish, loyal = _fastest(demand, holders)
    return (loyal_finish, loyal) if loyal_finish <= LOYALTY * finish else (finish, fastest)


def _holds_conversation(demand: Demand, seat: Seat) -> bool:
    """Tell whether a seat holds more of the conversation than a beginning shared by many."""
    link = longest_held(demand.prefixes, seat.warm) if seat.warm else None
    return link is not None and not link.is_common and seat.status.state is ModelState.READY


def _fastest(demand: Demand, seats: Sequence[Seat]) -> tuple[float, Seat]:
    ranked = (
        (
            seat.status.state is not ModelState.READY,
            round(predict(demand, seat), 3),
            # Rather where nobody has to give way.
            1 - seat.idle / max(1, seat.status.slots),
            1 - seat.free / max(1, seat.status.slots),
            random.random(),  # noqa: S311 - spreads load
            seat,
        )
        for seat in seats
    )
    _, finish, _, _, _, seat = min(ranked, key=lambda rank: rank[:5])
    return finish, seat
