"""The dashboard's pure parts: rates, the shared feed, and what a snapshot says."""

import anyio
import anyio.lowlevel
import pytest

from gateway.dashboard.feed import EVERY, Feed, TooManyWatchers
from gateway.dashboard.rates import Rates
from gateway.dashboard.view import View
from gateway.outcome import DISCONNECTED, Ended
from gateway.prices import Prices
from gateway.tally import FAILURES_KEPT, TENANTS_KEPT, Tally
from mesh.answer import Answer, Route
from schemas.fleet import Tier
from schemas.inference import InferRequest, Usage
from tests.support.fleets import FakeClock

ALL = View()


def test_a_rate_is_the_growth_of_the_last_seconds() -> None:
    """What grew earlier no longer counts, and what shrank began anew."""
    rates: Rates[str] = Rates(window=3)
    assert rates.look(0, {"a": 100}) == {"a": 0}
    assert rates.look(1, {"a": 150}) == {"a": 50}
    assert rates.look(2, {"a": 150, "b": 7}) == {"a": 25, "b": 0}
    assert [rates.look(at, {"a": 150})["a"] for at in (3, 4, 5)] == [pytest.approx(50 / 3), 0, 0]
    assert rates.look(6, {"a": 3}) == {"a": 0}


def test_a_rate_after_a_break_starts_anew() -> None:
    """What happened while nobody looked is not taken for what happens now."""
    rates: Rates[str] = Rates()
    rates.look(0, {"a": 0})
    assert rates.look(600, {"a": 1_000_000}) == {"a": 0}


async def test_watchers_share_a_snapshot() -> None:
    """However many watch, one is made per second, and a newcomer gets one at once."""
    clock, made = FakeClock(), 0

    def compose(_: View) -> bytes:
        nonlocal made
        made += 1
        return b"snapshot %d" % made

    feed = Feed(compose, limit=9, clock=clock)
    first, second = aiter(feed.follow(ALL)), aiter(feed.follow(ALL))
    assert await anext(first) == await anext(second) == b"snapshot 1"
    clock.now += EVERY
    assert await anext(first) == await anext(second) == b"snapshot 2"
    assert await anext(aiter(feed.follow(ALL))) == b"snapshot 2"


async def test_each_view_is_made_for_itself() -> None:
    """Who sees something else gets a snapshot of their own, and it is forgotten with them."""
    clock, made = FakeClock(), list[View]()

    def compose(view: View) -> bytes:
        made.append(view)
        return (view.tenant or "all").encode()

    feed, acme = Feed(compose, limit=9, clock=clock), View(tenant="acme")
    for _ in range(2):
        assert await anext(aiter(feed.follow(acme))) == b"acme"
        assert await anext(aiter(feed.follow(ALL))) == b"all"
    assert made == [acme, ALL]
    clock.now += 10 * EVERY
    await anext(aiter(feed.follow(ALL)))
    clock.now -= 10 * EVERY
    await anext(aiter(feed.follow(acme)))
    assert made == [acme, ALL, ALL, acme]


async def test_nothing_is_made_while_nobody_watches() -> None:
    """A feed without watchers does no work at all."""

    def compose(_: View) -> bytes:
        raise AssertionError("nobody asked")

    feed = Feed(compose, limit=1)
    await anyio.lowlevel.checkpoint()
    assert feed.watchers == 0


async def test_a_closed_feed_ends_what_is_watched() -> None:
    """A gateway that stops does not wait for pages."""
    feed = Feed(lambda _: b"x", limit=1)
    seen = []
    with anyio.fail_after(1):
        async for snapshot in feed.follow(ALL):
            seen.append(snapshot)
            feed.close()
    assert seen == [b"x"]


def test_places_for_watchers_are_counted() -> None:
    """One too many is refused, and a place that was left is free again."""
    feed = Feed(lambda _: b"", limit=1)
    with feed.seat():
        with pytest.raises(TooManyWatchers), feed.seat():
            pass
        assert feed.watchers == 1
    assert feed.watchers == 0


def ended(
    outcome: str = "ok", route: Route | None = None, usage: Usage | None = None, tenant: str = ""
) -> Ended:
    answer = Answer(InferRequest(model="m"))
    answer.route = route
    return Ended(
        tenant=tenant,
        model="m",
        outcome=outcome,
        duration=1,
        usage=usage,
        answer=answer,
        tier=None if route is None else route.tier,
        fallback=None if route is None else route.fallback,
    )


@pytest.fixture
def tally() -> Tally:
    prices = Prices(usd_per_million_in=1, usd_per_million_out=10)
    return Tally(prices, wall_clock=lambda: 123.0)


def test_requests_are_summed_by_tier_and_reason(tally: Tally) -> None:
    """Tokens become money at the cloud's prices, wherever they were computed."""
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_tokens=9)
    tally.count(ended(route=Route(Tier.EDGE, "w"), usage=usage), "m")
    tally.count(ended(route=Route(Tier.CLOUD, "c", "wait"), usage=usage), "m")
    tally.count(ended("queue_full"), "m")
    tally.count(ended("ok"), "m")  # goes on in the background
    edge = tally.everybody.flows[Tier.EDGE].view(1.26)
    assert (edge.requests, edge.usd, edge.cached_tokens) == (1, 6.0, 9)
    assert edge.tokens_per_second == 1.3
    assert tally.everybody.fallbacks == {"wait": 1}
    assert tally.everybody.refused == 1


def test_failures_are_kept_with_code_model_and_time(tally: Tally) -> None:
    """The latest come first, a bounded number of them; a client that left is no failure."""
    codes = [f"code_{number}" for number in range(FAILURES_KEPT + 5)]
    for code in (*codes, DISCONNECTED):
        tally.count(ended(code), "other")
    assert len(tally.everybody.failures) == FAILURES_KEPT
    latest = tally.everybody.failures[0]
    assert (latest.at, latest.code, latest.model) == (123.0, codes[-1], "other")


def test_each_tenant_has_totals_of_its_own(tally: Tally) -> None:
    """What one tenant did and what went wrong for it is in its own totals, and in the sum."""
    route = Route(Tier.EDGE, "w")
    tally.count(ended(route=route, tenant="acme"), "m")
    tally.count(ended("queue_full", tenant="zeta"), "m")
    tally.count(ended("invalid_api_key"), "other")
    acme, zeta, stranger = (tally.of(tenant) for tenant in ("acme", "zeta", "nobody"))
    assert (acme.flows[Tier.EDGE].requests, acme.refused, len(acme.failures)) == (1, 0, 0)
    assert (zeta.flows[Tier.EDGE].requests, zeta.refused) == (0, 1)
    assert [failure.code for failure in zeta.failures] == ["queue_full"]
    assert (stranger.refused, len(stranger.failures)) == (0, 0)
    assert (tally.of(None).refused, len(tally.of(None).failures)) == (2, 2)


def test_made_up_tenants_are_forgotten(tally: Tally) -> None:
    """However many names there are, those seen last are kept, a bounded number of them."""
    for number in range(TENANTS_KEPT + 1):
        tally.count(ended("queue_full", tenant=f"tenant-{number}"), "m")
        tally.count(ended("queue_full", tenant="acme"), "m")
    assert tally.of("acme").refused == TENANTS_KEPT + 1
    assert tally.of("tenant-1").refused == 0
    assert tally.of(f"tenant-{TENANTS_KEPT}").refused == 1
