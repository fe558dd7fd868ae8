"""From fleet, router and totals to what a dashboard shows."""

import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Final

from gateway.dashboard.fleet_view import model_total, worker_view
from gateway.dashboard.rates import Rates
from gateway.dashboard.view import View
from gateway.reach import Reach
from gateway.tally import Tally
from mesh.clock import Clock, monotonic
from mesh.fleet import Fleet
from mesh.router import Router
from mesh.seats import Node
from mesh.settings import APP
from schemas.dashboard import ModelTotal, Snapshot, WorkerView
from schemas.fleet import Tier

MAX_WORKERS: Final = 100
"""Workers in a snapshot; with more of them people look at metrics, not at cards."""

Key = tuple[Tier, str]


class Photographer:
    """Takes snapshots of one gateway."""

    def __init__(
        self,
        fleet: Fleet,
        router: Router,
        tally: Tally,
        clock: Clock = monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet, self._router, self._tally = fleet, router, tally
        self._clock, self._wall_clock = clock, wall_clock
        self._started = clock()
        self._version = metadata.version(APP)
        self._by_tier: Rates[Tier] = Rates()
        self._by_worker: Rates[Key] = Rates()

    def take(self, view: View) -> Snapshot:
        """Return the state now; rates are since the looks of the last seconds."""
        now, nodes = self._clock(), self._fleet.nodes()
        tiers = self._by_tier.look(now, {tier: self._router.written[tier] for tier in Tier})
        rates = self._by_worker.look(now, {node.key: node.written for node in nodes})
        workers = list(_workers(nodes, rates, view.reach))
        totals = self._tally.of(view.tenant)
        return Snapshot(
            at=self._wall_clock(),
            version=self._version,
            uptime=round(now - self._started, 1),
            tenant=view.tenant or "",
            workers=tuple(workers[:MAX_WORKERS]),
            more_workers=max(0, len(workers) - MAX_WORKERS),
            models=tuple(self._models(view.reach)),
            in_flight=self._tally.in_flight,
            edge=totals.flows[Tier.EDGE].view(tiers[Tier.EDGE]),
            cloud=totals.flows[Tier.CLOUD].view(tiers[Tier.CLOUD]),
            refused=totals.refused,
            fallbacks=dict(totals.fallbacks),
            priced=self._tally.prices.known,
            failures=tuple(totals.failures),
        )

    def _models(self, reach: Reach) -> Iterator[ModelTotal]:
        for model in self._fleet.models():
            if reach.covers_any(model):
                yield model_total(model, self._router.waiting(model.name))


def _workers(nodes: list[Node], rates: Mapping[Key, float], reach: Reach) -> Iterator[WorkerView]:
    for node in nodes:
        tier = node.key[0]
        seats = [seat for seat in node.seats.values() if reach.covers(tier, seat.status.name)]
        if tier not in reach.tiers or (node.seats and not seats):
            continue
        yield worker_view(node, seats, round(rates[node.key], 1))
