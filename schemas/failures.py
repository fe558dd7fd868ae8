"""Failure codes: the one vocabulary in which workers, router and gateway tell what went wrong."""

from enum import StrEnum


class FailureCode(StrEnum):
    """Why a request, an attempt or a call on the bus failed."""

    # The request's own fault: no other worker would do better.
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED = "unsupported"
    MODEL_NOT_FOUND = "model_not_found"
    JOB_NOT_FOUND = "job_not_found"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    # Time and room.
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    QUEUE_FULL = "queue_full"
    NO_CAPACITY = "no_capacity"
    BUSY = "busy"
    DRAINING = "draining"
    # A worker or its engine.
    WORKER_LOST = "worker_lost"
    LINE_LOST = "line_lost"
    ENGINE_CRASHED = "engine_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    QUARANTINED = "quarantined"
    # The upstream behind a cloud worker.
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_AUTH = "upstream_auth"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_MALFORMED = "upstream_malformed"
    UPSTREAM_ERROR = "upstream_error"
    BREAKER_OPEN = "breaker_open"
    BUDGET_EXHAUSTED = "budget_exhausted"
    # The bus.
    PERMISSION_DENIED = "permission_denied"
    NO_RESPONDERS = "no_responders"
    BUS_UNAVAILABLE = "bus_unavailable"
    # What is stored at the broker.
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_FULL = "store_full"
    CONFLICT = "conflict"
    INTERNAL = "internal"


REQUEST_FAULTS = frozenset(
    {
        FailureCode.INVALID_REQUEST,
        FailureCode.UNSUPPORTED,
        FailureCode.MODEL_NOT_FOUND,
        FailureCode.JOB_NOT_FOUND,
        FailureCode.CONTEXT_LENGTH_EXCEEDED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UPSTREAM_REJECTED,
        FailureCode.DEADLINE_EXCEEDED,
        FailureCode.CANCELLED,
    }
)
"""Codes after which trying another worker is useless."""

REFUSALS = frozenset(
    {
        FailureCode.BUSY,
        FailureCode.DRAINING,
        FailureCode.BREAKER_OPEN,
        FailureCode.BUDGET_EXHAUSTED,
    }
)
"""Codes with which a worker declines before it has done any work: they cost no attempt."""
