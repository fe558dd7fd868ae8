"""How many threads an engine uses."""

from dataclasses import dataclass, field

import pytest

from workers.llama.grain import ANY_NUMBER, GROUP, Grain
from workers.llama.tune import (
    BEAT,
    Bus,
    Threads,
    Trial,
    candidates,
    choose_grain,
    choose_threads,
    decide,
)


@dataclass
class FakeModel:
    """Takes as long for a step as its threads need."""

    seconds: dict[int, float]
    now: float = 0.0
    used: list[tuple[int, int]] = field(default_factory=list)

    def use_threads(self, single: int, batch: int) -> None:
        self.used.append((single, batch))

    def try_out(self, tokens: int) -> None:
        single, batch = self.used[-1] if self.used else (1, 1)
        self.now += self.seconds[single] if tokens == 1 else tokens / 4 * self.seconds[batch]


@dataclass
class Disturbed(FakeModel):
    """Takes far too long at first, with two threads."""

    calls: int = 0

    def try_out(self, tokens: int) -> None:
        super().try_out(tokens)
        if self.used and self.used[-1] == (2, 2) and self.calls:
            self.calls -= 1
            self.now += 1.0


def trial(seconds: float, delay: float = 0.0) -> Trial:
    return Trial(single=seconds, batch=seconds, delay=delay)


def test_one_core_is_left_to_the_bus() -> None:
    """A gain that is not worth it leaves the bus side its core."""
    assert decide({1: trial(1.0), 2: trial(0.9)}, cores=2) == Threads(single=1, batch=1)


def test_all_cores_are_used_where_that_is_far_faster() -> None:
    """Two cores that nearly double the speed are both used, if the bus stays on time."""
    assert decide({1: trial(1.0), 2: trial(0.55)}, cores=2) == Threads(single=2, batch=2)
    late = {1: trial(1.0), 2: trial(0.55, delay=0.05)}
    assert decide(late, cores=2) == Threads(single=1, batch=1)


def test_single_rows_and_batches_are_decided_apart() -> None:
    """Reading weights is limited by memory where computing a prompt is not."""
    trials = {
        1: Trial(single=1.0, batch=1.0, delay=0),
        2: Trial(single=0.95, batch=0.5, delay=0),
    }
    assert decide(trials, cores=2) == Threads(single=1, batch=2)


def test_fewer_threads_are_taken_where_more_do_not_help() -> None:
    """Beyond the memory's bandwidth threads only spin."""
    trials = {3: trial(1.0), 5: trial(0.6), 7: trial(0.59), 8: trial(0.58)}
    assert decide(trials, cores=8) == Threads(single=5, batch=5)


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [3, 4, 2, 1]), (16, [15, 16, 11, 7])]
)
def test_few_counts_are_tried(cores: int, counts: list[int]) -> None:
    """The likeliest goes first, so that a short budget still measures it."""
    assert candidates(cores) == counts


def test_the_best_stays_in_use() -> None:
    """After the trials the model computes with what was chosen."""
    model = FakeModel({1: 0.01, 2: 0.004})
    assert choose_threads(model, 2, 1.0, lambda: model.now) == Threads(single=2, batch=2)
    assert model.used[-1] == (2, 2)


def test_a_slow_model_is_tried_no_longer_than_the_budget() -> None:
    """Once the time is up, no further count is begun, and a core stays free."""
    model = FakeModel({1: 0.5, 2: 0.25})
    assert choose_threads(model, 2, 1.0, lambda: model.now) == Threads(single=1, batch=1)
    assert {single for single, _ in model.used} == {1}


def test_a_bad_moment_settles_nothing() -> None:
    """Each count is measured several times, and the best of it counts."""
    good, bad = Trial(single=1.0, batch=2.0, delay=0.001), Trial(single=0.9, batch=9.0, delay=0.5)
    best = Trial(single=0.9, batch=2.0, delay=0.001)
    assert good.or_better(bad) == bad.or_better(good) == best
    assert good.or_better(None) == good
    model = Disturbed({1: 0.01, 2: 0.004}, calls=4)
    assert choose_threads(model, 2, 60.0, lambda: model.now) == Threads(single=2, batch=2)


@dataclass
class Grouped(FakeModel):
    """Takes as long for each row left over as for a whole group."""

    def try_out(self, tokens: int) -> None:
        self.now += tokens // GROUP + tokens % GROUP


def test_whether_rows_come_in_groups_is_tried() -> None:
    """Where a row less makes a step longer they do, and where it makes it shorter they do not."""
    grouped, plain = Grouped({}), FakeModel({1: 0.01})
    assert choose_grain(grouped, 512, lambda: grouped.now) == Grain(GROUP, 512)
    assert choose_grain(plain, 512, lambda: plain.now) == ANY_NUMBER


def test_the_stand_in_notices_that_it_is_late() -> None:
    """It measures its own wake-ups, whatever computes meanwhile."""
    with Bus(BEAT) as bus:
        total = sum(range(2_000_000))
    assert total
    assert bus.delay > 0
