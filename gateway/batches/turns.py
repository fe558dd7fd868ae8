"""Which of the batches under way a gateway drives next. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A batch that is under way."""

    @property
    def batch(self) -> str:
        """Its id."""
        ...

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...


W = TypeVar("W", bound=Waiting)


def choose(
    waiting: Sequence[W], held: Collection[str], mine: Sequence[W], places: int
) -> Iterator[W]:
    """Yield what to take of ``waiting``, the oldest first, while there are ``places``.

    Tenants share the places: one with fewer batches under way here comes first. ``held``: driven by
    somebody; ``mine``: driven here.
    """
    counts = Counter(each.tenant for each in mine)
    driven = {*held, *(each.batch for each in mine)}
    free = [each for each in waiting if each.batch not in driven]
    for _ in range(min(places - len(mine), len(free))):
        chosen = min(free, key=lambda each: counts[each.tenant])  # of equals the first, the oldest
        free.remove(chosen)
        counts[chosen.tenant] += 1
        yield chosen
