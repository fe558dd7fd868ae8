"""Prometheus metrics of one gateway, and ``GET /metrics``.

A label value never comes straight from a client: models are named only if the fleet knows them,
so the number of series stays bounded. Children are looked up once and kept.
"""

from collections.abc import Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mesh.answer import Route
from mesh.fleet import Fleet
from schemas.fleet import Tier
from schemas.inference import Usage

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN_MODEL: Final = "other"
NO_TIER: Final = "none"

_TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class _Series:
    """The children for one tier, model and outcome."""

    __slots__ = ("completion_tokens", "duration", "first_token", "prompt_tokens", "requests")

    def __init__(self, metrics: "Metrics", tier: str, model: str, outcome: str) -> None:
        self.requests = metrics.requests.labels(tier, model, outcome)
        self.duration = metrics.duration.labels(tier, model)
        self.first_token = metrics.first_token.labels(tier, model)
        self.prompt_tokens = metrics.tokens.labels(tier, model, "prompt")
        self.completion_tokens = metrics.tokens.labels(tier, model, "completion")


class Metrics:
    """Counts what the gateway answers."""

    def __init__(self, fleet: Fleet) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mesh_requests_total",
            "Requests that ended, by where they ran and how they ended.",
            ("tier", "model", "outcome"),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "mesh_fallbacks_total",
            "Requests the cloud answered, by the reason.",
            ("reason",),
            registry=self.registry,
        )
        self.first_token = Histogram(
            "mesh_time_to_first_token_seconds",
            "From a streamed request's arrival to its first output.",
            ("tier", "model"),
            buckets=_TTFT_BUCKETS,
            registry=self.registry,
        )
        self.duration = Histogram(
            "mesh_request_duration_seconds",
            "From a request's arrival to its end.",
            ("tier", "model"),
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "mesh_tokens_total",
            "Tokens of successful requests: read (prompt) and written (completion).",
            ("tier", "model", "kind"),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "mesh_requests_in_flight",
            "Requests being answered now.",
            registry=self.registry,
        )
        self.registry.register(_FleetCollector(fleet))
        self._fleet = fleet
        self._series: dict[tuple[str, str, str], _Series] = {}

    def count(
        self,
        *,
        model: str,
        route: Route | None,
        outcome: str,
        duration: float,
        first_token: float | None,
        usage: Usage | None,
    ) -> None:
        """Count one request that ended; times in seconds since its arrival."""
        series = self._series_of(route, model, outcome)
        series.requests.inc()
        series.duration.observe(duration)
        if first_token is not None:
            series.first_token.observe(first_token)
        if usage is not None:
            series.prompt_tokens.inc(usage.prompt_tokens)
            series.completion_tokens.inc(usage.completion_tokens)
        if route is not None and route.fallback is not None:
            self.fallbacks.labels(route.fallback).inc()

    def _series_of(self, route: Route | None, model: str, outcome: str) -> _Series:
        tier = NO_TIER if route is None else route.tier.value
        known = model if route is not None or self._fleet.remembers(model) else UNKNOWN_MODEL
        key = (tier, known, outcome)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self, *key)
        return series

    async def get(self, _: web.Request) -> web.Response:
        """Answer ``GET /metrics``."""
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE}
        )


class _FleetCollector(Collector):
    """Reads the fleet when it is asked, so that adverts cost nothing here."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[GaugeMetricFamily]:
        workers = GaugeMetricFamily("mesh_workers", "Live workers.", labels=("tier",))
        tiers = [node.key[0] for node in self._fleet.nodes()]
        for tier in Tier:
            workers.add_metric((tier.value,), tiers.count(tier))
        yield workers
        slots = GaugeMetricFamily("mesh_slots", "Slots of a model.", labels=("model",))
        free = GaugeMetricFamily("mesh_slots_free", "Free slots of a model.", labels=("model",))
        idle = GaugeMetricFamily("mesh_slots_idle", "Unused slots of a model.", labels=("model",))
        for model in self._fleet.models():
            slots.add_metric((model.name,), model.slots)
            free.add_metric((model.name,), model.slots_free)
            idle.add_metric((model.name,), model.slots_idle)
        yield slots
        yield free
        yield idle
