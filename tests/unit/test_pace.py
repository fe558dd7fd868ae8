"""How fast a line moves, and who is told at once that it is too long."""

from typing import Any

import pytest

from mesh.demand import Demand
from mesh.errors import DeadlineExceeded, QueueFull
from mesh.pace import FEW, STALE_AFTER, Pace, come_back
from mesh.placement import Wait
from mesh.prospects import Prospects
from schemas.inference import Policy
from tests.support.fleets import advert, fleet_of, model


def moving(interval: float, moves: int = 40) -> Pace:
    """Return the pace of a line in which a seat is given every so many seconds."""
    pace = Pace()
    pace.began(0.0)
    for number in range(1, moves + 1):
        pace.moved(number * interval)
    return pace


def test_the_wait_is_a_turn_for_each_who_is_ahead() -> None:
    """Ten ahead and a seat every tenth of a second make 1.1 s."""
    assert moving(0.1).wait(10) == pytest.approx(1.1)


def test_a_line_that_hardly_moved_yet_says_nothing() -> None:
    """A guess would refuse what could be served."""
    assert moving(0.1, FEW - 1).wait(10) is None


def test_time_without_a_line_does_not_count() -> None:
    """Nobody waited meanwhile, so nobody was kept waiting."""
    pace = moving(0.1)
    pace.began(4.0 + STALE_AFTER - 1)
    pace.moved(4.0 + STALE_AFTER - 0.9)
    assert pace.wait(0) == pytest.approx(0.1)


def test_an_old_pace_is_forgotten() -> None:
    """The fleet may have grown since."""
    pace = moving(0.1)
    pace.began(5.0 + STALE_AFTER)
    assert pace.wait(0) is None


def test_seats_given_together_count_as_a_share_each() -> None:
    """Four seats at once every 0.4 s are as good as one every 0.1 s."""
    pace = Pace()
    pace.began(0.0)
    for turn in range(1, 50):
        for _ in range(4):
            pace.moved(turn * 0.4)
    assert pace.wait(0) == pytest.approx(0.1, rel=0.1)


def test_those_refused_together_do_not_come_back_together() -> None:
    """The time to come back is spread, and stays within the minute that clients accept."""
    assert len({come_back(5.0) for _ in range(20)}) == 20
    assert all(1.0 <= come_back(0.01) <= 1.25 for _ in range(20))
    assert all(come_back(1e9) <= 60.0 for _ in range(20))


def demand(**changes: Any) -> Demand:
    fields: dict[str, Any] = {
        "model": "m",
        "policy": Policy.EDGE_FIRST,
        "prompt_tokens": 0,
        "output_tokens": 100,
        "useful_tokens": 10,
        "deadline": 2.0,
    }
    return Demand(**fields | changes)


def prospects() -> Prospects:
    """Return those of a line that gives a seat every 0.1 s, for answers of a second."""
    judge = Prospects(fleet_of(advert("w", model(decode=10, free=0))))
    for number in range(FEW + 1):
        judge.moved(demand(), number * 0.1)
    return judge


def test_a_newcomer_who_would_be_late_is_refused_at_once() -> None:
    """Waiting and running together are longer than the deadline; told when it would be better."""
    judge = prospects()
    judge.check(demand(), ahead=7, now=0.0)
    with pytest.raises(QueueFull) as refused:
        judge.check(demand(), ahead=30, now=0.0)
    assert 2.72 <= (refused.value.retry_after or 0) <= 2.72 * 1.25


def test_whoever_would_be_first_may_wait() -> None:
    """Somebody has to find out whether the line moves again."""
    prospects().check(demand(deadline=0.5), ahead=0, now=0.0)


def test_nothing_is_refused_in_a_line_that_never_moved() -> None:
    """Without a pace there is no prediction."""
    Prospects(fleet_of(advert("w", model(decode=10)))).check(demand(), ahead=250, now=0.0)


def test_no_seat_is_spent_on_one_whose_time_is_up() -> None:
    """With too little of the shortest run left the seat goes to the next in line."""
    judge = prospects()
    assert judge.give_up(demand(), 1.2, Wait()) is None
    late = judge.give_up(demand(), 1.6, Wait())
    assert late is not None
    assert isinstance(late.error, DeadlineExceeded)
