"""API keys."""

from typing import Any

import pytest

from gateway.auth import ApiKey, Caller, Gatekeeper, StoredKeys, credentials
from gateway.problems import Unauthorized
from mesh.keys import digest
from schemas.inference import Policy
from schemas.keys import KeyRecord


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
    anybody = Caller(operator=True)  # there is no other tenant
    assert Gatekeeper([]).identify(None) == Gatekeeper([]).identify("Bearer x") == anybody


def stored(**fields: Any) -> StoredKeys:
    """Return what the gatekeeper learns of one key, ``mesh-1``."""
    caller = Caller.of(KeyRecord(id="key_1", digest=digest("mesh-1"), **fields))
    return StoredKeys(callers={digest("mesh-1"): caller}, required=True)


def test_stored_keys_work_beside_those_of_the_file() -> None:
    """A key from the bucket and one from the settings both lead to their tenants."""
    gatekeeper = Gatekeeper([ApiKey.parse("acme=sk-1")])
    gatekeeper.learn(stored(tenant="beta", models=("m",)))

    assert gatekeeper.identify("Bearer sk-1") == Caller(tenant="acme")
    beta = gatekeeper.identify("Bearer mesh-1")
    assert (beta.tenant, beta.key) == ("beta", "key_1")
    assert (beta.may_use("m"), beta.may_use("n")) == (True, False)


def test_an_expired_key_is_refused() -> None:
    """A key is good until the second it expires."""
    now = [99.9]
    gatekeeper = Gatekeeper([], wall_clock=lambda: now[0])
    gatekeeper.learn(stored(expires=100.0))
    assert gatekeeper.identify("Bearer mesh-1").key == "key_1"
    now[0] = 100.0
    with pytest.raises(Unauthorized, match="expired"):
        gatekeeper.identify("Bearer mesh-1")


def test_revoking_the_last_key_opens_nothing() -> None:
    """Once there has been a key, a gateway without any lets nobody in."""
    gatekeeper = Gatekeeper([])
    gatekeeper.learn(StoredKeys(required=True))
    for header in (None, "Bearer mesh-1"):
        with pytest.raises(Unauthorized):
            gatekeeper.identify(header)


def test_a_closed_gateway_without_keys_lets_nobody_in() -> None:
    """Where it is not open, having no keys yet means that nobody may ask."""
    with pytest.raises(Unauthorized):
        Gatekeeper([], open=False).identify(None)
