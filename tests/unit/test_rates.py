"""Requests and tokens per minute, with a clock that stands still."""

import pytest

from gateway.problems import RateLimited, describe, retry_headers
from gateway.rates import Allowance, Limits, Meter, Untold, written_duration
from tests.support.fleets import FakeClock


def meter(clock: FakeClock, requests: int | None = None, tokens: int | None = None) -> Meter:
    return Meter("key_1", Limits(requests=requests, tokens=tokens), clock, Untold())


def test_an_allowance_refills_evenly() -> None:
    """What was taken comes back within a minute, and never more than the limit."""
    allowance = Allowance(60, now=0.0)
    allowance.draw(60, now=0.0)
    assert (allowance.remaining(0.0), allowance.reset(0.0)) == (0, 60.0)
    assert allowance.remaining(10.5) == 10
    assert allowance.wait(20, 10.5) == pytest.approx(9.5)
    assert (allowance.remaining(1000.0), allowance.reset(1000.0)) == (60, 0.0)


def test_no_more_requests_begin_than_allowed() -> None:
    """The request after the last one is told when to come again, in both headers."""
    clock = FakeClock()
    limited = meter(clock, requests=3)
    for _ in range(3):
        limited.begin()
    with pytest.raises(RateLimited) as refused:
        limited.begin()
    told = retry_headers(describe(refused.value))
    assert (told["Retry-After"], told["retry-after-ms"]) == ("20", "20000")
    clock.now += 20
    limited.begin()


def test_tokens_are_set_aside_and_corrected() -> None:
    """A guess that was too high comes back, one that was too low is missing afterwards."""
    clock = FakeClock()
    limited = meter(clock, tokens=100)
    limited.settle(limited.reserve(80), used=10)
    assert limited.headers()["x-ratelimit-remaining-tokens"] == "90"
    limited.settle(limited.reserve(80), used=300)
    with pytest.raises(RateLimited):
        limited.reserve(1)
    clock.now += 60
    with pytest.raises(RateLimited):
        limited.reserve(1)
    clock.now += 200
    assert limited.headers()["x-ratelimit-remaining-tokens"] == "100"


def test_a_guess_beyond_the_limit_needs_all_of_it() -> None:
    """A request is not refused for ever because its answer might be long."""
    clock = FakeClock()
    limited = meter(clock, tokens=100)
    assert limited.reserve(1_000_000) == 100
    with pytest.raises(RateLimited):
        limited.reserve(1)


def test_what_one_gateway_counts_another_takes_off() -> None:
    """Requests and tokens are missing at the other one, and corrections come back there, too."""
    clock = FakeClock()
    here, there = meter(clock, 10, 1000), meter(clock, 10, 1000)
    here.begin()
    reserved = here.reserve(600)
    there.learn(here.use)
    here.told()
    assert (here.use.requests, here.use.tokens) == (0, 0)
    assert there.headers()["x-ratelimit-remaining-requests"] == "9"
    with pytest.raises(RateLimited):
        there.reserve(600)
    here.settle(reserved, used=100)
    there.learn(here.use)
    assert there.headers()["x-ratelimit-remaining-tokens"] == "900"
    assert (there.use.requests, there.use.tokens) == (0, 0)


def test_what_was_let_in_too_much_is_missing_afterwards() -> None:
    """Two gateways that both let a minute's worth in pay a minute back."""
    clock = FakeClock()
    here, there = meter(clock, requests=60), meter(clock, requests=60)
    for _ in range(60):
        here.begin()
        there.begin()
    there.learn(here.use)
    clock.now += 60
    with pytest.raises(RateLimited):
        there.begin()
    clock.now += 1
    there.begin()


def test_what_has_come_back_is_not_told() -> None:
    """Ten minutes that could not be told cost a key a minute elsewhere, not ten."""
    clock = FakeClock()
    here, there = meter(clock, 60, 600), meter(clock, 60, 600)
    for _ in range(10):
        clock.now += 60
        for _ in range(60):
            here.begin()
            here.settle(here.reserve(10), used=10)
    clock.now += 30
    assert (here.use.requests, here.use.tokens) == (30, 300)
    there.learn(here.use)
    assert there.headers()["x-ratelimit-remaining-requests"] == "30"
    assert there.headers()["x-ratelimit-remaining-tokens"] == "300"


def test_what_was_used_beyond_a_minute_is_told() -> None:
    """A long answer is missing everywhere for as long as here."""
    clock = FakeClock()
    here, there = meter(clock, tokens=100), meter(clock, tokens=100)
    here.settle(here.reserve(1000), used=300)
    there.learn(here.use)
    clock.now += 120
    with pytest.raises(RateLimited):
        there.reserve(1)
    clock.now += 1
    there.reserve(1)


def test_a_large_part_of_a_limit_is_urgent() -> None:
    """A tenth of a minute's worth, of requests or of tokens, is told at once."""
    assert not meter(FakeClock(), requests=100, tokens=1000).is_urgent
    few, many, long = (meter(FakeClock(), requests=100, tokens=1000) for _ in range(3))
    for _ in range(9):
        few.begin()
    for _ in range(10):
        many.begin()
    long.reserve(100)
    assert [each.is_urgent for each in (few, many, long)] == [False, True, True]


def test_headers_tell_what_is_left() -> None:
    """Only what is limited is told, with durations as OpenAI writes them."""
    limited = meter(FakeClock(), requests=60)
    limited.begin()
    assert limited.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.1204, "121ms"), (1, "1s"), (7.66, "7.66s"), (360, "6m0s"), (89.5, "1m29.5s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    """Milliseconds, seconds, or minutes and seconds."""
    assert written_duration(seconds) == text
