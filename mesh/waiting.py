"""Requests that wait for a slot: fair between tenants, soonest deadline first.

Pure: the router decides when to look; nothing here knows about time or tasks.
"""

import itertools
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingLine(Generic[T]):
    """Requests of one urgency that wait for one model.

    Tenants take turns, so one that sends a thousand requests delays another by one request, not by
    a thousand. Within a tenant the soonest deadline goes first, then arrival.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, list[tuple[float, int, T]]] = {}
        """Each tenant's requests, soonest deadline first; the tenants in the order of their turns,
        none without requests."""
        self._arrivals = itertools.count()
        self._places: dict[int, tuple[str, tuple[float, int]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        """Yield everyone in the order of service; nobody may come or go meanwhile."""
        for requests in self._tenants.values():
            for _, _, item in requests:
                yield item

    def add(self, item: T, tenant: str, deadline: float) -> None:
        """Put an item (compared by identity) in line."""
        arrival = next(self._arrivals)
        insort(self._tenants.setdefault(tenant, []), (deadline, arrival, item))
        self._places[id(item)] = (tenant, (deadline, arrival))

    def ahead(self, tenant: str, deadline: float) -> int:
        """Return how many would be served before a newcomer, if nobody came after it."""
        own = self._tenants.get(tenant, [])
        turn = bisect_right(own, (deadline, math.inf))
        count, is_before = turn, True
        for name, requests in self._tenants.items():
            if name == tenant:
                is_before = False
            else:
                count += min(len(requests), turn + is_before)
        return count

    def remove(self, item: T) -> None:
        """Take an item that gave up out of the line; one that is not in it is ignored."""
        if id(item) not in self._places:
            return
        tenant, place = self._places.pop(id(item))
        requests = self._tenants[tenant]
        del requests[bisect_left(requests, place)]
        if not requests:
            del self._tenants[tenant]

    def serve(self, item: T) -> None:
        """Take a served item out and move its tenant behind the others."""
        tenant = self._places[id(item)][0]
        self.remove(item)
        if tenant in self._tenants:
            self._tenants[tenant] = self._tenants.pop(tenant)
