"""Which of the batches under way a gateway drives next, and which it lets go. Pure."""

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


def to_yield(
    waiting: Sequence[W], held: Collection[str], mine: Sequence[W], places: int
) -> W | None:
    """Return the batch to let go for a tenant that has none here; ``None``: nobody has to wait.

    It is the newest of the tenant with the most; whoever takes it later goes on where it stands.
    """
    counts = Counter(each.tenant for each in mine)
    wanting = any(each.batch not in held and not counts[each.tenant] for each in waiting)
    if not wanting or len(mine) < places:
        return None
    tenant, most = counts.most_common(1)[0]
    newest = [each for each in mine if each.tenant == tenant]
    return newest[-1] if most > 1 else None
