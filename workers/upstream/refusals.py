"""From an upstream's HTTP status to an error of the mesh. Pure.

Only what an upstream says about a request of ours is passed on, to the one who sent it. All other
error bodies stay here: they are about the operator's key, account and server.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from mesh.errors import (
    ContextLengthExceeded,
    MeshError,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from schemas.openai.upstream import Problem, ProblemBody
from schemas.wire import UNREADABLE, decoder
from workers.upstream.settings import ApiKey

MAX_MESSAGE = 500
"""Characters of an upstream's message that are passed on."""

REQUEST_STATUSES = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Statuses that blame the request; the other 4xx blame the address, the key or the account."""

_decoder = decoder(ProblemBody)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, key: ApiKey, now: float
) -> MeshError:
    """Return the error that a status other than 200 stands for.

    now: seconds since the epoch, for a ``Retry-After`` that names a date.
    """
    pause = retry_after(headers, now)
    match status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return UpstreamRateLimited(retry_after=pause)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.PAYMENT_REQUIRED | HTTPStatus.FORBIDDEN:
            return UpstreamAuth(f"the upstream refused the worker's key (HTTP {status})")
        case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.GATEWAY_TIMEOUT:
            return UpstreamTimeout(f"the upstream timed out itself (HTTP {status})")
        case HTTPStatus.NOT_FOUND:
            return UpstreamError(
                "the upstream knows no such path or model (HTTP 404); its URL usually ends in /v1"
            )
        case _ if status in REQUEST_STATUSES:
            return _rejection(status, body, key)
    return UpstreamError(f"the upstream failed (HTTP {status})", retry_after=pause)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait that the headers ask for, if they do (RFC 9110, 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    return seconds if seconds is not None else _until(value, now)


def _rejection(status: int, body: bytes, key: ApiKey) -> MeshError:
    try:
        problem = _decoder.decode(body).error
    except UNREADABLE:
        problem = Problem()
    kind = ContextLengthExceeded if problem.code == "context_length_exceeded" else UpstreamRejected
    said = key.redact(problem.message or "")[:MAX_MESSAGE]
    message = f"the upstream refused the request: {said}" if said else None
    param = key.redact(problem.param)[:MAX_MESSAGE] if problem.param else None
    return kind(message or f"the upstream refused the request (HTTP {status})", param=param)


def _number(text: str) -> float | None:
    return float(text) if text.strip().isascii() and text.strip().isdecimal() else None


def _until(text: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None
