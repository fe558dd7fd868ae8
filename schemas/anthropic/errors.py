"""The error envelope of Anthropic's surface."""

from typing import Literal

from schemas.openai import Body

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
]


class Error(Body, frozen=True, kw_only=True):
    """What went wrong."""

    type: ErrorType
    message: str


class ErrorEnvelope(Body, frozen=True, kw_only=True):
    """The body of every answer that is not a success, and of the error event in a stream."""

    type: Literal["error"] = "error"
    error: Error
    request_id: str
