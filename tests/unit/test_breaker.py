import pytest

from mesh.errors import BreakerOpen
from workers.breaker import Breaker, BreakerSettings, BreakerState, Permit

SETTINGS = BreakerSettings(max_streak=3, window=10, pause_first=5.0, pause_max=20.0)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker(SETTINGS, time)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit())


def succeed(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.succeeded(breaker.admit())


def test_stays_closed_below_the_streak(breaker: Breaker) -> None:
    """A success between failures keeps it closed."""
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)

    assert breaker.state is BreakerState.CLOSED


def test_opens_after_a_streak_of_failures(breaker: Breaker) -> None:
    """The third failure in a row opens it, and the refusal says for how long."""
    fail(breaker, 3)

    with pytest.raises(BreakerOpen) as refused:
        breaker.admit()

    assert breaker.state is BreakerState.OPEN
    assert refused.value.retry_after == 5.0


def test_opens_at_a_share_of_failures(breaker: Breaker) -> None:
    """Half of the last ten calls failing opens it, though never three in a row."""
    for _ in range(4):
        succeed(breaker)
        fail(breaker)
    succeed(breaker)
    before = breaker.state

    fail(breaker)

    assert [before, breaker.state] == [BreakerState.CLOSED, BreakerState.OPEN]


def test_lets_one_probe_pass_when_half_open(breaker: Breaker, time: Time) -> None:
    """After the pause one call passes, and a second one is refused meanwhile."""
    fail(breaker, 3)
    time.now += 5.0

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit() == Permit(probe=True)
    with pytest.raises(BreakerOpen):
        breaker.admit()


def test_closes_when_the_probe_succeeds(breaker: Breaker, time: Time) -> None:
    """A good probe closes it and forgets the failures before."""
    fail(breaker, 3)
    time.now += 5.0
    succeed(breaker)
    fail(breaker, 2)

    assert breaker.state is BreakerState.CLOSED


def test_pauses_double_up_to_a_limit(breaker: Breaker, time: Time) -> None:
    """Each failed probe doubles the pause until the longest is reached."""
    fail(breaker, 3)
    pauses = []
    for _ in range(4):
        pauses.append(breaker.pause)
        time.now += breaker.pause
        fail(breaker)

    assert pauses == [5.0, 10.0, 20.0, 20.0]


def test_an_abandoned_probe_makes_room_for_another(breaker: Breaker, time: Time) -> None:
    """A probe that our side gave up decides nothing."""
    fail(breaker, 3)
    time.now += 5.0
    breaker.abandoned(breaker.admit())

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit().probe


def test_outcomes_from_before_it_opened_change_nothing(breaker: Breaker) -> None:
    """Calls under way when it opened neither close it nor lengthen the pause."""
    late = [breaker.admit(), breaker.admit()]
    fail(breaker, 3)

    breaker.succeeded(late[0])
    breaker.failed(late[1])

    assert breaker.state is BreakerState.OPEN
    assert breaker.pause == 5.0


def test_a_rate_limit_pauses_as_long_as_asked(breaker: Breaker, time: Time) -> None:
    """One 429 opens it for the time named, and the longest of several counts."""
    first, second = breaker.admit(), breaker.admit()
    breaker.rate_limited(first, 30.0)
    breaker.rate_limited(second, 10.0)

    assert breaker.pause == 30.0
    time.now += 30.0
    assert breaker.state is BreakerState.HALF_OPEN


def test_an_absurd_retry_after_is_cut(breaker: Breaker) -> None:
    """An upstream cannot shut itself out for years."""
    breaker.rate_limited(breaker.admit(), 1e9)

    assert breaker.pause == SETTINGS.pause_asked_max


def test_many_rate_limits_at_once_count_once(breaker: Breaker) -> None:
    """Without a time named, simultaneous 429s do not double the pause for each."""
    permits = [breaker.admit() for _ in range(8)]
    for permit in permits:
        breaker.rate_limited(permit, None)

    assert breaker.pause == 5.0


def test_a_refused_key_opens_it_for_long(breaker: Breaker) -> None:
    """One 401 is enough."""
    breaker.locked_out(breaker.admit())

    assert breaker.pause == SETTINGS.pause_auth
