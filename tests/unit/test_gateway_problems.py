"""Errors as HTTP tells them."""

import msgspec
import pytest
from aiohttp import web

from gateway.problems import (
    BodyTooLarge,
    HttpError,
    RequestTimeout,
    TooManyConnections,
    Unauthorized,
    describe,
    encode_problem,
    respond,
    retry_headers,
)
from mesh import errors
from mesh.errors import MeshError, from_code
from schemas.failures import FailureCode


@pytest.mark.parametrize("code", list(FailureCode))
def test_every_failure_has_a_status_and_all_four_keys(code: FailureCode) -> None:
    """No failure code falls through to a page of the framework."""
    problem = describe(from_code(code, "why"))

    assert 400 <= problem.status < 600
    envelope = msgspec.json.decode(encode_problem(problem))
    assert envelope.keys() == {"error"}
    assert envelope["error"].keys() == {"message", "type", "param", "code"}
    assert envelope["error"]["message"] == "why"


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (errors.InvalidRequest(), 400, "invalid_request_error", "invalid_request"),
        (errors.Unsupported(), 400, "invalid_request_error", "unsupported"),
        (errors.ModelNotFound(), 404, "invalid_request_error", "model_not_found"),
        (errors.ContextLengthExceeded(), 400, "invalid_request_error", "context_length_exceeded"),
        (errors.PayloadTooLarge(), 413, "invalid_request_error", "payload_too_large"),
        (errors.QueueFull(), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.BudgetExhausted(), 429, "insufficient_quota", "insufficient_quota"),
        (errors.NoCapacity(), 503, "server_error", "no_capacity"),
        (errors.BusUnavailable(), 503, "server_error", "bus_unavailable"),
        (errors.DeadlineExceeded(), 504, "server_error", "deadline_exceeded"),
        (errors.WorkerLost(), 502, "server_error", "worker_lost"),
        (Unauthorized("no"), 401, "invalid_request_error", "invalid_api_key"),
        (RequestTimeout("slow"), 408, "invalid_request_error", "request_timeout"),
        (BodyTooLarge("big"), 413, "invalid_request_error", "payload_too_large"),
        (TooManyConnections("full"), 503, "server_error", "too_many_connections"),
        (web.HTTPNotFound(), 404, "invalid_request_error", "not_found"),
        (
            web.HTTPMethodNotAllowed("GET", ["POST"]),
            405,
            "invalid_request_error",
            "method_not_allowed",
        ),
        (ValueError("secret"), 500, "server_error", "internal"),
    ],
)
def test_statuses(error: MeshError | HttpError, status: int, kind: str, code: str) -> None:
    """Each kind of error has the status, type and code that clients act on."""
    problem = describe(error)

    assert (problem.status, problem.type, problem.code) == (status, kind, code)


def test_an_unexpected_error_tells_nothing() -> None:
    """What a bug says may hold what a user said."""
    assert "secret" not in describe(ValueError("secret")).message


def test_waiting_times_are_told_in_seconds_and_milliseconds() -> None:
    """Older clients read whole seconds, newer ones milliseconds."""
    headers = retry_headers(describe(errors.QueueFull(retry_after=2.25)))

    assert headers == {"Retry-After": "3", "retry-after-ms": "2250"}


@pytest.mark.parametrize("error", [errors.QueueFull(), errors.NoCapacity(), TooManyConnections("")])
def test_whoever_may_come_back_is_told_when(error: MeshError | HttpError) -> None:
    """A 429 and a 503 always carry a waiting time."""
    assert retry_headers(describe(error))["Retry-After"] == "1"


def test_work_that_has_begun_must_not_be_repeated() -> None:
    """SDKs retry a 502 or 504 by themselves unless they are told not to."""
    assert retry_headers(describe(errors.WorkerLost(), started=True)) == {"x-should-retry": "false"}
    assert "x-should-retry" not in retry_headers(describe(errors.WorkerLost()))


def test_the_answer_is_json() -> None:
    """Clients parse every error body."""
    response = respond(describe(errors.ModelNotFound("gone", param="model")))

    assert response.status == 404
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    assert msgspec.json.decode(response.body)["error"]["param"] == "model"
