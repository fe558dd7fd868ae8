import json

import pytest

from mesh.errors import (
    ContextLengthExceeded,
    MeshError,
    UpstreamAuth,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from workers.upstream.refusals import refusal, retry_after
from workers.upstream.settings import ApiKey

KEY = ApiKey("sk-canary")
NOW = 1_445_412_480.0
"""Wed, 21 Oct 2015 07:28:00 GMT, the example of RFC 9110."""


def refused(status: int, message: str = "detail", **error: object) -> MeshError:
    body = json.dumps({"error": {"message": message, **error}}).encode()
    return refusal(status, {}, body, KEY, NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamRejected),
        (413, UpstreamRejected),
        (422, UpstreamRejected),
        (401, UpstreamAuth),
        (402, UpstreamAuth),
        (403, UpstreamAuth),
        (404, UpstreamError),
        (307, UpstreamError),
        (408, UpstreamTimeout),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (503, UpstreamError),
        (504, UpstreamTimeout),
        (529, UpstreamError),
    ],
)
def test_statuses_have_their_errors(status: int, kind: type[MeshError]) -> None:
    """Each status stands for one error."""
    assert type(refused(status)) is kind


def test_a_rejection_names_the_field_and_the_reason() -> None:
    """What is wrong with the request goes back to who sent it."""
    error = refused(400, "too hot", param="temperature")

    assert error.param == "temperature"
    assert "too hot" in error.message


def test_a_context_that_does_not_fit_is_named() -> None:
    """The code says so, not the text."""
    assert type(refused(400, code="context_length_exceeded")) is ContextLengthExceeded


@pytest.mark.parametrize("status", [307, 401, 403, 404, 429, 500, 503])
def test_other_bodies_stay_here(status: int) -> None:
    """Errors about the account, the address or the server are not passed on."""
    assert "detail" not in str(refused(status))


def test_an_echoed_key_is_blotted_out() -> None:
    """Even a rejection that quotes the key does not carry it."""
    error = refused(400, "for sk-canary", param="sk-canary")

    assert "sk-canary" not in f"{error} {error.param}"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error": {"message": "\xff"}}', b"[" * 65536, b'{"error": "text"}']
)
def test_a_body_that_explains_nothing_is_no_trouble(body: bytes) -> None:
    """A rejection without the usual envelope is a rejection all the same."""
    assert type(refusal(400, {}, body, KEY, NOW)) is UpstreamRejected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "20", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are understood, nonsense is ignored."""
    assert retry_after(headers, NOW) == seconds
