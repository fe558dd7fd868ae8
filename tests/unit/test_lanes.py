"""Which lanes a runner may pull from, and when."""

from mesh.jobs.fairness import Lane
from mesh.jobs.lanes import NEWS_AHEAD, REST, SHORT_REST, Lanes
from schemas.jobs import Priority

LANE = Lane(Priority.NORMAL, "a", "m")


class Place:
    """Lanes with a clock that the test moves; ``asked``: when they want to be looked at again."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[float] = []
        self.lanes = Lanes(lambda: self.now, self.asked.append)

    def next(self) -> Lane | None:
        return self.lanes.next(lambda _: True)


def test_what_a_look_finds_is_pulled_at_once() -> None:
    """A lane that holds jobs is next as long as there is room for its model."""
    place = Place()
    place.lanes.see([LANE])
    assert place.lanes.next(lambda _: False) is None
    assert place.next() == LANE


def test_news_is_given_a_moment() -> None:
    """A lane that was only heard of rests until its job is stored, and asks to be looked at."""
    place = Place()
    place.lanes.hear(LANE)
    assert (place.next(), place.asked) == (None, [SHORT_REST])
    place.now += SHORT_REST
    assert place.next() == LANE


def test_news_of_a_known_lane_does_not_hold_it_up() -> None:
    """One that has jobs already goes on."""
    place = Place()
    place.lanes.see([LANE])
    place.lanes.hear(LANE)
    assert (place.next(), place.asked) == (LANE, [])


def test_a_job_of_the_own_desk_needs_no_rest() -> None:
    """Once a job is known to be stored its lane is next, whatever the news did."""
    place = Place()
    place.lanes.hear(LANE)
    place.lanes.stored(LANE)
    assert place.next() == LANE


def test_a_lane_that_ran_short_is_empty() -> None:
    """It is left out until something new is known of it."""
    place = Place()
    place.lanes.see([LANE])
    place.lanes.ran_short(LANE)
    assert (place.next(), len(place.lanes)) == (None, 0)


def test_a_lane_that_ran_short_after_news_is_tried_again() -> None:
    """The pull may have come before the job that the news told of."""
    place = Place()
    place.lanes.see([LANE])
    place.lanes.hear(LANE)
    place.now += NEWS_AHEAD / 2
    place.lanes.ran_short(LANE)
    assert (place.next(), place.asked) == (None, [SHORT_REST])
    place.now += SHORT_REST
    assert place.next() == LANE


def test_a_lane_whose_job_may_not_run_rests() -> None:
    """It is passed over, keeps its place, and a look at the stream does not wake it early."""
    place = Place()
    place.lanes.see([LANE])
    place.lanes.rest(LANE)
    place.lanes.see([LANE])
    assert place.next() is None
    place.now += REST
    assert place.next() == LANE
