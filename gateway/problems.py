"""Whatever goes wrong, as the OpenAI error envelope: status, body and retry headers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from mesh.errors import MeshError
from schemas.failures import FailureCode
from schemas.openai.errors import Error, ErrorEnvelope

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
RATE_LIMIT: Final = "rate_limit_error"
QUOTA: Final = "insufficient_quota"

SAME_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
"""For bodies whose fields are called as the mesh's own request calls them."""

DEFAULT_RETRY: Final = 1.0
"""Seconds until a retry, where a retry may help and nobody knows better."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error as HTTP tells it.

    retry_after: seconds. should_retry: ``None`` leaves the decision to the client's own rules.
    """

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None

    def renamed(self, names: Mapping[str, str]) -> "Problem":
        """Return it with a field such as ``inputs[3]`` by the name that the client knows."""
        name, bracket, rest = (self.param or "").partition("[")
        if name not in names:
            return self
        return replace(self, param=names[name] + bracket + rest)


class HttpError(Exception):
    """The HTTP request itself is refused, before it means anything to the mesh."""

    status = 400
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        """``retry_after``: seconds until a retry may help."""
        self.message = message
        self.param = param
        self.retry_after = retry_after
        super().__init__(message)


class BadRequest(HttpError):
    """The request line, a header or the body's encoding is wrong."""


class Unauthorized(HttpError):
    """The API key is missing or unknown."""

    status = 401
    code = "invalid_api_key"


class Forbidden(HttpError):
    """The caller may not ask for that."""

    status = 403
    code = "policy_forbidden"


class RequestTimeout(HttpError):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(HttpError):
    """The body is larger than the gateway takes."""

    status = 413
    code = FailureCode.PAYLOAD_TOO_LARGE.value


class RateLimited(HttpError):
    """The API key has used up its requests or tokens of the minute."""

    status = 429
    code = "rate_limit_exceeded"


class TooManyConnections(HttpError):
    """The gateway serves as many connections as it can."""

    status = 503
    code = "too_many_connections"


class Overloaded(HttpError):
    """The gateway process does not keep up with what it answers already."""

    status = 503
    code = "overloaded"


CLIENT_CLOSED: Final = 499
"""nginx's status for a request whose client went away; it only ever shows in logs."""

_STATUS: Final[Mapping[FailureCode, int]] = MappingProxyType(
    {
        FailureCode.INVALID_REQUEST: 400,
        FailureCode.UNSUPPORTED: 400,
        FailureCode.MODEL_NOT_FOUND: 404,
        FailureCode.JOB_NOT_FOUND: 404,
        FailureCode.CONTEXT_LENGTH_EXCEEDED: 400,
        FailureCode.PAYLOAD_TOO_LARGE: 413,
        FailureCode.DEADLINE_EXCEEDED: 504,
        FailureCode.CANCELLED: CLIENT_CLOSED,
        FailureCode.QUEUE_FULL: 429,
        FailureCode.NO_CAPACITY: 503,
        FailureCode.BUSY: 429,
        FailureCode.DRAINING: 503,
        FailureCode.WORKER_LOST: 502,
        FailureCode.LINE_LOST: 502,
        FailureCode.ENGINE_CRASHED: 502,
        FailureCode.OUT_OF_MEMORY: 503,
        FailureCode.QUARANTINED: 500,
        FailureCode.UPSTREAM_RATE_LIMITED: 429,
        FailureCode.UPSTREAM_REJECTED: 400,
        FailureCode.UPSTREAM_AUTH: 502,
        FailureCode.UPSTREAM_TIMEOUT: 504,
        FailureCode.UPSTREAM_MALFORMED: 502,
        FailureCode.UPSTREAM_ERROR: 502,
        FailureCode.BREAKER_OPEN: 503,
        FailureCode.BUDGET_EXHAUSTED: 429,
        FailureCode.PERMISSION_DENIED: 403,
        FailureCode.NO_RESPONDERS: 503,
        FailureCode.BUS_UNAVAILABLE: 503,
        FailureCode.STORE_UNAVAILABLE: 503,
        FailureCode.STORE_FULL: 503,
        FailureCode.CONFLICT: 409,
        FailureCode.INTERNAL: 500,
    }
)
_SPELLED: Final[Mapping[FailureCode, str]] = MappingProxyType(
    {
        FailureCode.QUEUE_FULL: "rate_limit_exceeded",
        FailureCode.BUSY: "rate_limit_exceeded",
        FailureCode.UPSTREAM_RATE_LIMITED: "rate_limit_exceeded",
        FailureCode.BUDGET_EXHAUSTED: QUOTA,
    }
)
"""Codes for which the OpenAI surface has a name of its own."""


def describe(error: BaseException, *, started: bool = False) -> Problem:
    """Return an error as HTTP tells it; ``started``: a worker has already begun the work.

    A client must not repeat work that has begun: the router has retried what can be retried.
    """
    if isinstance(error, MeshError):
        return _describe_mesh(error, started=started)
    if isinstance(error, HttpError):
        return _describe_http(error)
    if isinstance(error, web.HTTPException):
        return _describe_framework(error)
    return Problem(
        status=500,
        message="The gateway failed unexpectedly; its log has the details.",
        type=SERVER_ERROR,
        code=FailureCode.INTERNAL.value,
        should_retry=False if started else None,
    )


def _describe_mesh(error: MeshError, *, started: bool) -> Problem:
    status = _STATUS[error.code]
    code = _SPELLED.get(error.code, error.code.value)
    return Problem(
        status=status,
        message=error.message,
        type=_type_of(status, code),
        code=code,
        param=error.param,
        retry_after=_retry_after(error, status),
        # A spent budget is renewed by the day: clients that try again at once only add load.
        should_retry=False if started or code == QUOTA else None,
    )


def _retry_after(error: MeshError, status: int) -> float | None:
    if error.retry_after is not None:
        return error.retry_after
    return DEFAULT_RETRY if status in {429, 503} else None


def _type_of(status: int, code: str | None) -> str:
    if code == QUOTA:
        return QUOTA
    if status == 429:
        return RATE_LIMIT
    return SERVER_ERROR if status >= 500 else INVALID_REQUEST


def _describe_http(error: HttpError) -> Problem:
    return Problem(
        status=error.status,
        message=error.message,
        type=_type_of(error.status, error.code),
        code=error.code,
        param=error.param,
        retry_after=DEFAULT_RETRY if error.status == 503 else error.retry_after,
    )


_FRAMEWORK_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {404: "not_found", 405: "method_not_allowed", 417: "expectation_failed"}
)


def _describe_framework(error: web.HTTPException) -> Problem:
    """Tell the framework's own pages (unknown path, wrong method) in our words."""
    code = _FRAMEWORK_CODES.get(error.status)
    return Problem(
        status=error.status,
        message=f"{error.reason}.",
        type=_type_of(error.status, code),
        code=code,
    )


_encoder = msgspec.json.Encoder()


def encode_problem(problem: Problem) -> bytes:
    """Return the envelope as JSON."""
    error = Error(
        message=problem.message, type=problem.type, param=problem.param, code=problem.code
    )
    return _encoder.encode(ErrorEnvelope(error=error))


def retry_headers(problem: Problem) -> dict[str, str]:
    """Return what tells the client when, and whether, to try again."""
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(problem.retry_after * 1000)))
    if problem.should_retry is not None:
        headers["x-should-retry"] = "true" if problem.should_retry else "false"
    return headers


PROBLEM: Final = web.ResponseKey("problem", Problem)
"""Where the answer that tells a problem keeps it, for surfaces that tell it otherwise."""


def respond(problem: Problem) -> web.Response:
    """Return the answer that tells a problem."""
    response = web.Response(
        status=problem.status,
        body=encode_problem(problem),
        headers={"Content-Type": "application/json", **retry_headers(problem)},
    )
    response[PROBLEM] = problem
    return response
