"""Deadlines, policies, ids and routes in headers."""

import pytest

from gateway.auth import Caller
from gateway.headers import deadline_ms, limit_policy, of_route, policy
from gateway.identity import given_id, id_source
from gateway.problems import BadRequest, Forbidden
from mesh.answer import Route
from schemas.fleet import Tier
from schemas.inference import Policy

ANYBODY = Caller()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 9000),
        ({"x-mesh-deadline-ms": "1500"}, 1500),
        ({"x-mesh-deadline-ms": "1500", "x-stainless-read-timeout": "600"}, 1500),
        ({"x-stainless-read-timeout": "600"}, 600_000),
        ({"x-stainless-read-timeout": "0.5"}, 500),
        ({"x-stainless-timeout": "30"}, 30_000),
        ({"x-stainless-read-timeout": "None"}, 9000),
        ({"x-stainless-read-timeout": "nan"}, 9000),
        ({"x-stainless-read-timeout": "-1"}, 9000),
        ({"x-stainless-read-timeout": "1e30"}, 9000),
    ],
)
def test_the_deadline_comes_from_the_first_source(headers: dict[str, str], expected: int) -> None:
    """The mesh's own header wins over the client's timeout, which wins over the default."""
    assert deadline_ms(headers, 9000) == expected


@pytest.mark.parametrize("value", ["", "0", "-5", "1.5", "soon", "1e3", "99999999999", "٣"])
def test_a_nonsense_deadline_is_refused(value: str) -> None:
    """A deadline that cannot be kept is refused by the header's name."""
    with pytest.raises(BadRequest) as caught:
        deadline_ms({"x-mesh-deadline-ms": value}, 9000)
    assert caught.value.param == "x-mesh-deadline-ms"


@pytest.mark.parametrize(
    ("asked", "limit", "expected"),
    [
        (Policy.EDGE_FIRST, Policy.EDGE_FIRST, Policy.EDGE_FIRST),
        (Policy.CLOUD_ONLY, Policy.EDGE_FIRST, Policy.CLOUD_ONLY),
        (Policy.EDGE_FIRST, Policy.EDGE_ONLY, Policy.EDGE_ONLY),
        (Policy.EDGE_ONLY, Policy.EDGE_ONLY, Policy.EDGE_ONLY),
        (Policy.EDGE_FIRST, Policy.CLOUD_ONLY, Policy.CLOUD_ONLY),
    ],
)
def test_a_limit_narrows_a_policy(asked: Policy, limit: Policy, expected: Policy) -> None:
    """The result is what both allow."""
    assert limit_policy(asked, limit) is expected


@pytest.mark.parametrize(
    ("asked", "limit"),
    [(Policy.CLOUD_ONLY, Policy.EDGE_ONLY), (Policy.EDGE_ONLY, Policy.CLOUD_ONLY)],
)
def test_a_policy_that_contradicts_its_limit_is_forbidden(asked: Policy, limit: Policy) -> None:
    """A request is never moved to a tier it did not ask for."""
    with pytest.raises(Forbidden) as caught:
        limit_policy(asked, limit)
    assert caught.value.status == 403


def test_key_and_gateway_both_limit() -> None:
    """The narrower of the key's and the gateway's limit holds."""
    edge_key = Caller(policy=Policy.EDGE_ONLY)

    assert policy({}, edge_key, Policy.EDGE_FIRST) is Policy.EDGE_ONLY
    assert policy({}, ANYBODY, Policy.EDGE_ONLY) is Policy.EDGE_ONLY
    assert policy({"x-mesh-policy": "cloud-only"}, ANYBODY, Policy.EDGE_FIRST) is Policy.CLOUD_ONLY


def test_an_unknown_policy_is_refused() -> None:
    """A policy nobody knows is refused by the header's name."""
    with pytest.raises(BadRequest) as caught:
        policy({"x-mesh-policy": "moon-only"}, ANYBODY, Policy.EDGE_FIRST)
    assert caught.value.param == "x-mesh-policy"


def test_ids_are_unique() -> None:
    """Ids of one source differ, and so do those of two sources."""
    one, two = id_source(), id_source()

    assert len({one(), one(), two(), two()}) == 4


@pytest.mark.parametrize("given", ["abc", "3f2a-77", "trace:1.2_x"])
def test_a_sane_id_is_kept(given: str) -> None:
    """Callers find their own ids again."""
    assert given_id({"x-request-id": given}) == given


@pytest.mark.parametrize("given", ["", " a", "a b", "a\tb", "ä", "-", "x" * 129, 'a"b'])
def test_an_insane_id_is_replaced(given: str) -> None:
    """What could break a header or a log line is not kept."""
    assert given_id({"x-request-id": given}) is None


def test_a_route_is_told() -> None:
    """Tier, worker and the reason for a fallback are told, as far as they are known."""
    assert of_route(None) == {}
    assert of_route(Route(Tier.EDGE, "w1")) == {"x-mesh-tier": "edge", "x-mesh-worker": "w1"}
    assert of_route(Route(Tier.CLOUD, "küche\n", "wait")) == {
        "x-mesh-tier": "cloud",
        "x-mesh-worker": "k%C3%BCche%0A",
        "x-mesh-fallback": "wait",
    }
