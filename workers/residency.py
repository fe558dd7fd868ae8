"""Which models leave memory so that another fits: pure, the time is handed in.

The least recently used goes first, one in use never, and none before it has stayed for a while:
otherwise two models that are asked for in turn would do nothing but load.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STAYS_PER_LOAD = 10.0
"""How many times as long as its loading took a model stays: a tenth of the time is lost at most."""


@dataclass(frozen=True, kw_only=True)
class Resident:
    """A model in memory.

    held_until: when it may be asked to go, infinite while it loads. used_at: when it last did
    something. Times in seconds on the caller's clock.
    """

    name: str
    nbytes: int
    held_until: float
    used_at: float
    in_use: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How room is made.

    leaving: who must go, and takes nothing new. at_once: none of them is in use, so they go now.
    look_again: when more could go, infinite if that depends on something else than time.
    """

    leaving: frozenset[str] = frozenset()
    at_once: bool = False
    look_again: float = math.inf


def make_room(missing: int, residents: Iterable[Resident], now: float) -> Plan:
    """Return who must go so that ``missing`` bytes come free.

    They go together or not at all: while one of them is in use, the others stay loaded, too.
    """
    residents = tuple(residents)
    ripe = [resident for resident in residents if resident.held_until <= now]
    if missing <= 0:
        return Plan()
    if sum(resident.nbytes for resident in ripe) < missing:
        held = (each.held_until for each in residents if each.held_until > now)
        return Plan(look_again=min(held, default=math.inf))
    leaving = _fewest(missing, sorted(ripe, key=lambda each: (each.in_use, each.used_at)))
    return Plan(
        leaving=frozenset(each.name for each in leaving),
        at_once=not any(each.in_use for each in leaving),
    )


def held_for(load_seconds: float, longest: float) -> float:
    """Return for how many seconds a model stays at least, given what loading it took."""
    return min(longest, STAYS_PER_LOAD * load_seconds)


def _fewest(missing: int, candidates: Sequence[Resident]) -> list[Resident]:
    """Return the first candidates that are enough, without those that turn out not to be needed."""
    taken: list[Resident] = []
    spare = -missing
    for candidate in candidates:
        if spare >= 0:
            break
        taken.append(candidate)
        spare += candidate.nbytes
    for candidate in reversed(taken):
        if candidate.nbytes <= spare:
            spare -= candidate.nbytes
            taken = [each for each in taken if each is not candidate]
    return taken
