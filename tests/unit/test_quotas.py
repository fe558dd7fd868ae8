"""What a request is counted as when it ends."""

from gateway.quotas import Quotas, Stay
from gateway.rates import Limits
from gateway.spending import Reservation
from mesh.answer import Answer, Route
from mesh.fleet import Fleet
from schemas.fleet import Tariff, Tier
from schemas.inference import Usage
from schemas.keys import KeyUse
from tests.support.requests import chat

RESERVED = 1_000_000
USAGE = Usage(prompt_tokens=10, completion_tokens=20)
COST = 10 * 1000 + 20 * 2000
CLOUD, EDGE = Route(Tier.CLOUD, "c"), Route(Tier.EDGE, "e")


def ended(*routes: Route, usage: Usage | None = None) -> Stay:
    """Return a stay whose request was accepted by these workers, one after the other."""
    request = chat()
    answer = Answer(request)
    for route in routes:
        answer.route = route
    answer.usage = usage
    return Stay(
        request=request,
        tokens=500,
        reservation=Reservation("key_1.2027-01-01", RESERVED),
        tariff=Tariff(usd_per_million_in=1.0, usd_per_million_out=2.0),
        answer=answer,
    )


def test_what_the_cloud_answered_costs_what_it_used() -> None:
    """The reservation gives way to the price of the tokens."""
    assert ended(CLOUD, usage=USAGE).cost == COST


def test_the_edge_costs_nothing() -> None:
    """A request that never went to the cloud gives all of its reservation back."""
    assert ended(EDGE, usage=USAGE).cost == ended(EDGE).cost == ended().cost == 0


def test_a_lost_cloud_attempt_costs_what_it_might_have() -> None:
    """Nobody knows what it took: it counts as reserved, each one that began."""
    assert ended(CLOUD).cost == RESERVED
    assert ended(CLOUD, CLOUD, usage=USAGE).cost == RESERVED + COST
    assert ended(CLOUD, EDGE, usage=USAGE).cost == RESERVED


def test_tokens_count_as_used_or_as_guessed() -> None:
    """What was answered counts exactly, what broke off as guessed, what never began not at all."""
    assert ended(EDGE, usage=USAGE).used == 30
    assert ended(EDGE).used == 500
    assert ended().used == 0


def test_others_do_not_say_what_a_key_may_do() -> None:
    """Counts with other limits take away from a key that is known here, and renew nothing."""
    quotas = Quotas(Fleet(), clock=lambda: 0.0)
    limits = Limits(requests=2)
    quotas.meter("key_1", limits).begin()
    quotas.learn(KeyUse(key="key_1", requests=1, requests_per_minute=1000))
    assert quotas.meter("key_1", limits).headers()["x-ratelimit-remaining-requests"] == "0"


def test_what_others_counted_before_is_known_here() -> None:
    """A key that nobody has used here has less from its first request on."""
    quotas = Quotas(Fleet(), clock=lambda: 0.0)
    quotas.learn(KeyUse(key="key_1", requests=1, requests_per_minute=2))
    left = quotas.meter("key_1", Limits(requests=2)).headers()
    assert left["x-ratelimit-remaining-requests"] == "1"
