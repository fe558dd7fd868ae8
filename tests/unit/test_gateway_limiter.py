"""The limit of requests in flight: none while the loop keeps up, and what it can bear otherwise."""

from gateway.limiter import Limiter, LimiterSettings
from tests.support.fleets import FakeClock

SETTINGS = LimiterSettings(floor=4, ceiling=100, target=0.01, late=0.04, samples=3)


class Loop:
    """An event loop that is as late as it is told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.limiter = Limiter(SETTINGS, self.clock)

    def window(self, *delays: float) -> None:
        """Let timers fire, each so late."""
        for delay in delays:
            self.clock.now += SETTINGS.sample_every + delay
            self.limiter.sample()

    def enter(self, count: int) -> int:
        """Return how many of so many newcomers were let in."""
        return sum(self.limiter.enter() for _ in range(count))


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_a_loop_that_keeps_up_lets_everyone_in() -> None:
    """Any number of quiet streams may be open."""
    loop = Loop()
    assert loop.enter(90) == 90
    loop.window(0.001, 0.001, 0.001)
    assert loop.enter(20) == 10


def test_a_late_loop_lets_in_fewer_than_are_in_flight() -> None:
    """The limit falls from what was in flight, not from a ceiling nobody reached."""
    loop = Loop()
    loop.enter(50)
    loop.window(0.0125, 0.0125, 0.0125)
    assert loop.limiter.limit in {39, 40}
    assert loop.enter(1) == 0
    assert loop.limiter.in_flight == 50


def test_one_pause_proves_nothing() -> None:
    """A long step among short ones leaves the limit as it is."""
    loop = Loop()
    loop.enter(50)
    loop.window(0.001, 0.5, 0.001)
    assert loop.limiter.limit == SETTINGS.ceiling


def test_the_floor_is_always_served() -> None:
    """However late the loop is, a few requests are let in."""
    loop = Loop()
    loop.enter(4)
    for _ in range(20):
        loop.window(0.2, 0.2, 0.2)
    assert loop.limiter.limit == SETTINGS.floor
    for _ in range(4):
        loop.limiter.leave()
    assert loop.enter(10) == SETTINGS.floor


def test_a_burst_is_refused_before_a_window_ends() -> None:
    """While the loop stands still nobody beyond the floor is let in."""
    loop = Loop()
    loop.clock.now += SETTINGS.sample_every + 0.05
    assert loop.enter(10) == SETTINGS.floor


def test_the_limit_comes_back() -> None:
    """When the load has gone the limit grows until it limits nothing, within seconds."""
    loop = Loop()
    loop.enter(50)
    loop.window(0.2, 0.2, 0.2)
    windows = 0
    while loop.limiter.limit < SETTINGS.ceiling:
        loop.window(0.0, 0.0, 0.0)
        windows += 1
    assert windows < 30


def test_the_more_are_refused_the_later_they_come_back() -> None:
    """The pause grows with the crowd, is spread, and stays within seconds."""
    loop = Loop()
    loop.enter(100)
    alone = loop.limiter.retry_after(middle)
    loop.enter(200)
    crowded = loop.limiter.retry_after(middle)
    loop.enter(100_000)
    assert (alone, crowded, loop.limiter.retry_after(middle)) == (1.0, 3.0, 5.0)
    assert loop.limiter.retry_after(lambda low, _: low) < loop.limiter.retry_after(
        lambda _, high: high
    )


def test_a_crowd_that_has_gone_is_forgotten() -> None:
    """What was refused counts half as much with each window."""
    loop = Loop()
    loop.enter(300)
    before = loop.limiter.retry_after(middle)
    for _ in range(8):
        loop.window(0.0, 0.0, 0.0)
    assert loop.limiter.retry_after(middle) == 1.0 < before


def test_nobody_watches_a_loop_that_has_little_to_do() -> None:
    """It is watched while there is a crowd, and until the limit has recovered from one."""
    limiter = (loop := Loop()).limiter
    watched = [limiter.is_needed]
    loop.enter(SETTINGS.floor)
    watched.append(limiter.is_needed)
    loop.window(0.0125, 0.0125, 0.0125)
    for _ in range(SETTINGS.floor):
        limiter.leave()
    watched.append(limiter.is_needed)
    while limiter.limit < SETTINGS.ceiling:
        loop.window(0.0, 0.0, 0.0)
    watched.append(limiter.is_needed)
    assert watched == [False, True, True, False]


def test_a_rest_is_no_delay() -> None:
    """Who comes after a long rest is let in, until the loop is late again."""
    limiter = (loop := Loop()).limiter
    limiter.rest()
    loop.clock.now += 3600
    assert loop.enter(SETTINGS.floor + 1) == SETTINGS.floor + 1
    limiter.wake()
    assert loop.enter(1) == 1
    loop.clock.now += SETTINGS.sample_every + 2 * SETTINGS.late
    assert loop.enter(1) == 0
