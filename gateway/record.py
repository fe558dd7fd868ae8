"""What metrics and the log tell of one request: never what it said."""

import asyncio
import time
from types import TracebackType
from typing import Final, Self

import structlog

from gateway.metrics import Metrics
from gateway.problems import HttpError
from mesh.answer import Route
from mesh.errors import MeshError
from schemas.inference import Usage

OK: Final = "ok"
DISCONNECTED: Final = "disconnected"
"""The client went away before its answer was complete."""
REFUSED: Final = "refused"
"""The HTTP request was refused before it meant anything to the mesh."""
CRASHED: Final = "crashed"


class Journal:
    """Where every request is counted and logged when it ends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Bound once: a logger from ``get_logger`` assembles itself anew for every line.
        self._log = structlog.get_logger("gateway").bind()

    def record(self, request_id: str) -> "Record":
        """Return the record of a request that has just arrived."""
        return Record(self, request_id)

    def began(self) -> None:
        """Count a request in."""
        self._metrics.in_flight.inc()

    def ended(self, record: "Record") -> None:
        """Count a request out, and write its line."""
        metrics, route, usage = self._metrics, record.route, record.usage
        metrics.in_flight.dec()
        duration = time.perf_counter() - record.arrived_at
        metrics.count(
            model=record.model,
            route=route,
            outcome=record.outcome,
            duration=duration,
            first_token=record.first_token,
            usage=usage,
        )
        self._log.info(
            "request.finished",
            request_id=record.id,
            model=record.model,
            outcome=record.outcome,
            tier=route and route.tier.value,
            worker=route and route.worker,
            fallback=route and route.fallback,
            prompt_tokens=usage and usage.prompt_tokens,
            completion_tokens=usage and usage.completion_tokens,
            seconds=round(duration, 4),
        )


class Record:
    """Follows one request; a context manager whose end is the request's end.

    first_token: seconds from the arrival to the first output of a stream.
    """

    __slots__ = (
        "_journal",
        "arrived_at",
        "first_token",
        "id",
        "model",
        "outcome",
        "route",
        "usage",
    )

    def __init__(self, journal: Journal, request_id: str) -> None:
        self._journal = journal
        self.arrived_at = time.perf_counter()
        self.first_token: float | None = None
        self.id = request_id
        self.model = ""
        self.outcome = OK
        self.route: Route | None = None
        self.usage: Usage | None = None

    def output_began(self) -> None:
        """Note the time of the first output."""
        self.first_token = time.perf_counter() - self.arrived_at

    def failed(self, error: BaseException) -> None:
        """Note how the request ended."""
        self.outcome = _outcome_of(error)

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


def _outcome_of(error: BaseException) -> str:
    match error:
        case MeshError():
            return error.code.value
        case HttpError():
            return REFUSED
        case asyncio.CancelledError() | ConnectionError():
            return DISCONNECTED
        case _:
            return CRASHED
