"""Prometheus metrics of one gateway, and ``GET /metrics``.

A label value never comes straight from a client: models are named only if the fleet knows them,
so the number of series stays bounded. Children are looked up once and kept.
"""

from collections.abc import Sequence
from typing import Final

import prometheus_client
from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway.exposition import new_registry
from gateway.fleet_metrics import FleetCollector
from gateway.outcome import Ended
from gateway.prices import Prices
from mesh.answer import Answer
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.fleet import Tier
from schemas.inference import Usage

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN_MODEL: Final = "other"
NO_TIER: Final = "none"

_TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_WAIT_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class _Series:
    """The children for one tier and model."""

    __slots__ = ("cached", "completion", "duration", "first_token", "gap", "prompt", "wait")

    def __init__(self, metrics: "Metrics", tier: str, model: str) -> None:
        self.duration = metrics.duration.labels(tier, model)
        self.first_token = metrics.first_token.labels(tier, model)
        self.gap = metrics.gap.labels(tier, model)
        self.wait = metrics.wait.labels(tier, model)
        self.prompt = metrics.tokens.labels(tier, model, "prompt")
        self.completion = metrics.tokens.labels(tier, model, "completion")
        self.cached = metrics.cached.labels(tier, model)


class Metrics:
    """Counts what the gateway answers."""

    def __init__(self, fleet: Fleet, router: Router, prices: Prices) -> None:
        self.registry = new_registry()
        # They double the page with every series' birthday, and nobody asks for it.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._add_counts()
        self._add_money()
        self._add_times()
        self.registry.register(FleetCollector(fleet, router))
        ProcessCollector(registry=self.registry)
        self._fleet, self._prices = fleet, prices
        self._series: dict[tuple[str, str], _Series] = {}
        self._ends: dict[tuple[str, str, str], Counter] = {}
        self._tries: dict[tuple[str, str, str], Counter] = {}

    def count(self, ended: Ended, model: str) -> None:
        """Count one request that ended; ``model`` is its label."""
        tier = NO_TIER if ended.tier is None else ended.tier.value
        series = self._series_of(tier, model)
        _child(self._ends, self.requests, (tier, model, ended.outcome)).inc()
        series.duration.observe(ended.duration)
        if ended.first_token is not None:
            series.first_token.observe(ended.first_token)
        if ended.usage is not None:
            self._count_tokens(series, ended.tier, model, ended.usage)
        if ended.fallback is not None:
            self.fallbacks.labels(ended.fallback).inc()
        if ended.answer is not None:
            series.wait.observe(ended.answer.waited)
            self._count_attempts(ended.answer, model)

    def gap_of(self, answer: Answer | None) -> Histogram:
        """Return where the pauses in a stream that has begun are counted."""
        if answer is None or answer.route is None:
            return self._series_of(NO_TIER, UNKNOWN_MODEL).gap
        return self._series_of(answer.route.tier.value, answer.request.model).gap

    def label_of(self, ended: Ended) -> str:
        """Return the model's name if the fleet knows it: clients make up any number of others."""
        known = ended.tier is not None or self._fleet.remembers(ended.model)
        return ended.model if known else UNKNOWN_MODEL

    async def get(self, _: web.Request) -> web.Response:
        """Answer ``GET /metrics``."""
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE}
        )

    def _add_counts(self) -> None:
        what = "Requests that ended, by where they ran and how they ended."
        self.requests = self._counter("mesh_requests_total", what, "tier", "model", "outcome")
        what = "Requests being answered now, those in line among them."
        self.in_flight = Gauge(
            "mesh_requests_in_flight", what, registry=self.registry, multiprocess_mode="livesum"
        )
        what = "Tries of a request on one worker that ended, by how they ended."
        self.attempts = self._counter("mesh_attempts_total", what, "tier", "model", "outcome")
        what = "Answers that another worker went on with where one was lost."
        self.resumes = self._counter("mesh_resumes_total", what, "model")
        what = "Requests the cloud answered, by the reason."
        self.fallbacks = self._counter("mesh_fallbacks_total", what, "reason")
        what = "Tokens of successful requests: read (prompt) and written (completion)."
        self.tokens = self._counter("mesh_tokens_total", what, "tier", "model", "kind")
        what = "Prompt tokens of successful requests that were known and not computed again."
        self.cached = self._counter("mesh_cached_tokens_total", what, "tier", "model")

    def _add_money(self) -> None:
        what = "US dollars for the cloud's tokens, at the prices the gateway was told."
        self.spent = self._counter("mesh_cloud_spend_usd_total", what, "model")
        what = "US dollars that the cloud would have taken for what the edge answered."
        self.avoided = self._counter("mesh_cloud_spend_avoided_usd_total", what, "model")

    def _add_times(self) -> None:
        what = "From a streamed request's arrival to its first output."
        name = "mesh_time_to_first_token_seconds"
        self.first_token = self._histogram(name, what, _TTFT_BUCKETS)
        what = "Between two outputs of a stream; tokens of the same 20 ms are one output."
        self.gap = self._histogram("mesh_inter_token_gap_seconds", what, _GAP_BUCKETS)
        what = "Time that requests stood in line for a slot; zero for those that found one free."
        self.wait = self._histogram("mesh_queue_wait_seconds", what, _WAIT_BUCKETS)
        what = "From a request's arrival to its end."
        self.duration = self._histogram("mesh_request_duration_seconds", what, _DURATION_BUCKETS)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, what, ("tier", "model"), buckets=buckets, registry=self.registry)

    def _count_tokens(self, series: _Series, tier: Tier | None, model: str, usage: Usage) -> None:
        series.prompt.inc(usage.prompt_tokens)
        series.completion.inc(usage.completion_tokens)
        if usage.cached_tokens:
            series.cached.inc(usage.cached_tokens)
        if self._prices.known:
            money = self.spent if tier is Tier.CLOUD else self.avoided
            money.labels(model).inc(self._prices.cost(usage))

    def _count_attempts(self, answer: Answer, model: str) -> None:
        for tried in answer.attempts:
            _child(self._tries, self.attempts, (tried.tier.value, model, tried.outcome)).inc()
        if answer.resumes:
            self.resumes.labels(model).inc(answer.resumes)

    def _series_of(self, tier: str, model: str) -> _Series:
        series = self._series.get((tier, model))
        if series is None:
            series = self._series[tier, model] = _Series(self, tier, model)
        return series


def _child(
    kept: dict[tuple[str, str, str], Counter], family: Counter, labels: tuple[str, str, str]
) -> Counter:
    child = kept.get(labels)
    if child is None:
        child = kept[labels] = family.labels(*labels)
    return child
