"""Errors in Anthropic's envelope, with its status codes. Pure but for the response it rewrites."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from gateway.problems import Problem
from schemas.anthropic.errors import Error, ErrorEnvelope, ErrorType

ROOT: Final = "/v1/messages"
REQUEST_ID: Final = "request-id"
"""The header in which this surface tells the id of a request."""
OVERLOADED: Final = 529

_TYPES: Final[Mapping[int, ErrorType]] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
_STATUSES: Final[Mapping[ErrorType, int]] = MappingProxyType(
    {"api_error": 500, "overloaded_error": OVERLOADED}
)
"""Where the status says less than the type, which comes first then."""

_encode = msgspec.json.Encoder().encode


def covers(path: str) -> bool:
    """Tell whether errors under a path are told in this envelope."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def type_of(problem: Problem) -> ErrorType:
    """Return what Anthropic calls a problem of this status."""
    known = _TYPES.get(problem.status)
    if known is not None:
        return known
    return "api_error" if problem.status >= 500 else "invalid_request_error"


def encode(problem: Problem, request_id: str) -> bytes:
    """Return the envelope as JSON."""
    error = Error(type=type_of(problem), message=problem.message)
    return _encode(ErrorEnvelope(error=error, request_id=request_id))


def reform(response: web.Response, problem: Problem, request_id: str) -> None:
    """Turn the answer that tells a problem into this envelope; its retry headers stay."""
    response.body = encode(problem, request_id)
    status = _STATUSES.get(type_of(problem), problem.status)
    response.set_status(status, "Overloaded" if status == OVERLOADED else None)
