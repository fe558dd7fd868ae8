"""What metrics, dashboard and log tell of one request: never what it said."""

import time
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from prometheus_client import Histogram

from gateway.metrics import Metrics
from gateway.outcome import OK, Ended, outcome_of
from gateway.tally import Tally
from mesh.answer import Answer, Route
from mesh.trace import TraceContext
from mesh.tracing import Span
from schemas.inference import Usage


class Journal:
    """Where every request is counted when it ends."""

    def __init__(self, metrics: Metrics, tally: Tally) -> None:
        self._metrics, self._tally = metrics, tally

    def record(self, request_id: str, span: Span) -> "Record":
        """Return the record of a request that has just arrived."""
        return Record(self, request_id, span)

    def began(self) -> None:
        """Count a request in."""
        self._metrics.in_flight.inc()
        self._tally.in_flight += 1

    def ended(self, record: "Record") -> None:
        """Count a request out."""
        self._metrics.in_flight.dec()
        self._tally.in_flight -= 1
        route = record.route
        ended = Ended(
            tenant=record.tenant,
            model=record.model,
            outcome=record.outcome,
            duration=time.perf_counter() - record.arrived_at,
            first_token=record.first_token,
            usage=record.usage,
            answer=record.answer,
            tier=None if route is None else route.tier,
            fallback=None if route is None else route.fallback,
        )
        model = self._metrics.label_of(ended)
        self._metrics.count(ended, model)
        self._tally.count(ended, model)

    def gap_of(self, answer: Answer | None) -> Histogram:
        """Return where the pauses in a stream are counted."""
        return self._metrics.gap_of(answer)


class Record:
    """Follows one request; a context manager whose end is the request's end.

    first_token: seconds from the arrival to the first output of a stream.
    """

    __slots__ = (
        "_gap",
        "_journal",
        "_said_at",
        "answer",
        "arrived_at",
        "first_token",
        "id",
        "model",
        "outcome",
        "span",
        "tenant",
    )

    def __init__(self, journal: Journal, request_id: str, span: Span) -> None:
        self._journal, self.span = journal, span
        self.arrived_at = self._said_at = time.perf_counter()
        self._gap: Histogram | None = None
        self.first_token: float | None = None
        self.id = request_id
        self.model = self.tenant = ""
        self.outcome = OK
        self.answer: Answer | None = None

    @property
    def trace(self) -> TraceContext:
        """The span under which the mesh works on it."""
        return self.span.context

    @property
    def route(self) -> Route | None:
        """Which worker accepted it, as far as one has."""
        return None if self.answer is None else self.answer.route

    @property
    def usage(self) -> Usage | None:
        """The tokens of an answer that is complete."""
        return None if self.answer is None else self.answer.usage

    def output_began(self) -> None:
        """Note the time of the first output."""
        self._said_at = time.perf_counter()
        self.first_token = self._said_at - self.arrived_at
        self._gap = self._journal.gap_of(self.answer)

    def output(self) -> None:
        """Note the time of an output: once for each that is written, however many tokens it has."""
        if self._gap is None:
            self.output_began()
            return
        now = time.perf_counter()
        self._gap.observe(now - self._said_at)
        self._said_at = now

    def failed(self, error: BaseException) -> None:
        """Note how the request ended."""
        self.outcome = outcome_of(error)

    def __enter__(self) -> Self:
        self._journal.began()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.failed(error)
        self._journal.ended(self)
        self.span.end(self.outcome, self._facts() if self.span.is_recorded else {})

    def _facts(self) -> dict[str, str | int | float | bool]:
        """Return what the span tells of the request."""
        route, usage = self.route, self.usage
        told: dict[str, str | int | float | None] = {
            "mesh.request.id": self.id,
            "mesh.tenant": self.tenant,
            "mesh.outcome": self.outcome,
            "gen_ai.request.model": self.model,
            "mesh.tier": route.tier.value if route else None,
            "mesh.worker": route.worker if route else None,
            "mesh.fallback": route.fallback if route else None,
            "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
            "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
            "mesh.time_to_first_token": self.first_token,
        }
        return {key: value for key, value in told.items() if value is not None}


RECORD: Final = web.RequestKey("record", Record)
"""Where a request keeps its record, for the access log."""
