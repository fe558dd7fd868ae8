"""API keys."""

import pytest

from gateway.auth import ApiKey, Caller, Gatekeeper, credentials, digest
from gateway.problems import Unauthorized
from schemas.inference import Policy


@pytest.mark.parametrize(
    ("text", "tenant", "policy"),
    [
        ("sk-1", "default", Policy.EDGE_FIRST),
        ("acme=sk-1", "acme", Policy.EDGE_FIRST),
        ("acme=sk-1@edge-only", "acme", Policy.EDGE_ONLY),
        (f"acme=sha256:{digest('sk-1')}", "acme", Policy.EDGE_FIRST),
        (f"sha256:{digest('sk-1').upper()}@cloud-only", "default", Policy.CLOUD_ONLY),
    ],
)
def test_keys_are_parsed(text: str, tenant: str, policy: Policy) -> None:
    """Plain or hashed, with or without tenant and policy."""
    assert ApiKey.parse(text) == ApiKey(digest=digest("sk-1"), tenant=tenant, policy=policy)


@pytest.mark.parametrize(
    "text", ["", "acme=", "=sk-secret", "sk-secret@nowhere", "sha256:sk-secret", "@edge-only"]
)
def test_a_malformed_key_is_refused_without_repeating_it(text: str) -> None:
    """The message may end up in a log, the key must not."""
    with pytest.raises(ValueError, match="API key") as caught:
        ApiKey.parse(text)
    assert "secret" not in str(caught.value)


def test_no_key_is_kept_in_plain() -> None:
    """Neither a settings object nor its representation holds the key."""
    assert "sk-secret" not in repr(ApiKey.parse("acme=sk-secret"))


def test_callers_are_told_by_their_key() -> None:
    """Each key leads to its own tenant and policy."""
    keys = [ApiKey.parse("acme=sk-1@edge-only"), ApiKey.parse("beta=sk-2")]
    gatekeeper = Gatekeeper(keys)

    assert gatekeeper.identify("Bearer sk-1") == Caller(tenant="acme", policy=Policy.EDGE_ONLY)
    assert gatekeeper.identify("bearer  sk-2") == Caller(tenant="beta")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer sk-3", "Basic sk-1", "Bearer \udcff", "sk-1"]
)
def test_a_missing_or_unknown_key_is_unauthorized(header: str | None) -> None:
    """Whoever shows no known key is refused with the code that SDKs know."""
    with pytest.raises(Unauthorized) as caught:
        Gatekeeper([ApiKey.parse("sk-1")]).identify(header)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Authorization": "Bearer a"}, "Bearer a"),
        ({"x-api-key": "b"}, "Bearer b"),
        ({"Authorization": "Bearer a", "x-api-key": "b"}, "Bearer a"),
    ],
)
def test_a_key_may_come_in_anthropics_header(headers: dict[str, str], expected: str | None) -> None:
    """Both headers prove the same; of two, the standard one counts."""
    assert credentials(headers) == expected


def test_without_keys_everybody_is_welcome() -> None:
    """A gateway without keys takes any or none."""
    assert Gatekeeper([]).identify(None) == Gatekeeper([]).identify("Bearer x") == Caller()
