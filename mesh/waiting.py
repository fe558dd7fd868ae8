"""Requests that wait for a slot: fair between tenants, soonest deadline first.

Pure: the router decides when to look; nothing here knows about time or tasks.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingLine(Generic[T]):
    """Requests that wait for one model.

    Tenants take turns, so one that sends a thousand requests delays another by one request, not by
    a thousand. Within a tenant the soonest deadline goes first, then arrival.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, list[tuple[float, int, T]]] = {}
        self._turns: deque[str] = deque()
        self._arrivals = itertools.count()
        self._gone: set[int] = set()
        self._places: dict[int, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, item: T, tenant: str, deadline: float) -> None:
        """Put an item (compared by identity) in line."""
        arrival = next(self._arrivals)
        if tenant not in self._tenants:
            self._tenants[tenant] = []
            self._turns.append(tenant)
        heapq.heappush(self._tenants[tenant], (deadline, arrival, item))
        self._places[id(item)] = (arrival, tenant)

    def remove(self, item: T) -> None:
        """Take an item that gave up out of the line; one that is not in it is ignored."""
        arrival, _ = self._places.pop(id(item), (None, ""))
        if arrival is not None:
            self._gone.add(arrival)

    def serve(self, item: T) -> None:
        """Take a served item out and move its tenant behind the others."""
        tenant = self._places[id(item)][1]
        self.remove(item)
        self._turns.remove(tenant)
        self._turns.append(tenant)

    def heads(self) -> Iterator[T]:
        """Yield the first item of each tenant, in the order of their turns."""
        for tenant in tuple(self._turns):
            heap = self._tenants[tenant]
            while heap and heap[0][1] in self._gone:
                self._gone.discard(heapq.heappop(heap)[1])
            if heap:
                yield heap[0][2]
            else:
                del self._tenants[tenant]
                self._turns.remove(tenant)
