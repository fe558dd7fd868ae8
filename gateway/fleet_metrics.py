"""What the fleet and the queues are like at the moment that somebody asks for the metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mesh.fleet import Fleet
from mesh.router import Router
from schemas.fleet import Tier


class FleetCollector(Collector):
    """Reads fleet and router when it is asked, so that adverts and frames cost nothing here."""

    def __init__(self, fleet: Fleet, router: Router) -> None:
        self._fleet, self._router = fleet, router

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield self._workers()
        yield from self._slots()
        yield self._waiting()
        yield self._written()

    def _workers(self) -> Metric:
        workers = GaugeMetricFamily("mesh_workers", "Live workers.", labels=("tier",))
        tiers = [node.key[0] for node in self._fleet.nodes()]
        for tier in Tier:
            workers.add_metric((tier.value,), tiers.count(tier))
        return workers

    def _slots(self) -> Iterator[Metric]:
        labels = ("tier", "model")
        slots = GaugeMetricFamily("mesh_slots", "Slots of a model.", labels=labels)
        what = "Slots of a model that interactive requests may take."
        free = GaugeMetricFamily("mesh_slots_free", what, labels=labels)
        what = "Slots of a model that nobody uses, which background requests may take."
        idle = GaugeMetricFamily("mesh_slots_idle", what, labels=labels)
        for model in self._fleet.models():
            for tier in Tier:
                group = self._fleet.group(model.name, tier)
                if group.seats:
                    slots.add_metric((tier.value, model.name), group.slots)
                    free.add_metric((tier.value, model.name), sum(s.free for s in group.open))
                    idle.add_metric((tier.value, model.name), sum(s.idle for s in group.open))
        yield slots
        yield free
        yield idle

    def _waiting(self) -> Metric:
        waiting = GaugeMetricFamily(
            "mesh_requests_waiting", "Requests in line for a slot of a model.", labels=("model",)
        )
        for model in self._fleet.models():
            waiting.add_metric((model.name,), self._router.waiting(model.name))
        return waiting

    def _written(self) -> Metric:
        written = CounterMetricFamily(
            "mesh_output_tokens",
            "Tokens that workers have sent, counted as they come in; "
            "a piece of text of an upstream counts as one.",
            labels=("tier",),
        )
        for tier in Tier:
            written.add_metric((tier.value,), self._router.written[tier])
        return written
