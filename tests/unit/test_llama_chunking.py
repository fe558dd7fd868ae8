"""How many tokens the next step may hold."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from workers.llama.chunking import FLOOR, ChunkSize, StepCost

MOST = 512
STEP_TIME = 0.25


@dataclass
class Machine:
    """Seconds of a step: ``fixed`` to read the weights, so much per stream and prompt token."""

    fixed: float = 0.020
    row: float = 0.002
    token: float = 0.00025
    stolen: Callable[[], float] = lambda: 1.0
    """How many times slower the next step is because something else has the cores."""

    def gap(self, streams: int) -> float:
        return self.fixed + self.row * streams

    def step(self, prefilled: int, decoded: int) -> float:
        return (self.gap(decoded) + self.token * prefilled) * self.stolen()


def run(chunks: ChunkSize, machine: Machine, *, streams: int, steps: int) -> list[int]:
    """Decode, then compute a long prompt beside it; return the prompt tokens of each step."""
    for _ in range(steps):
        chunks.note(0, streams, machine.step(0, streams))
    prompts = []
    for _ in range(steps):
        prompts.append(chunks.tokens(streams) - streams)
        chunks.note(prompts[-1], streams, machine.step(prompts[-1], streams))
    return prompts


def warm() -> ChunkSize:
    """Return one that knows what a warm-up measures: one prompt chunk and two single tokens."""
    chunks, machine = ChunkSize(most=MOST, step_time=STEP_TIME), Machine()
    chunks.note(FLOOR, 0, machine.step(FLOOR, 0))
    for _ in range(2):
        chunks.note(0, 1, machine.step(0, 1))
    return chunks


def test_the_first_chunk_is_small() -> None:
    """Before anything is measured a step is safe on every machine."""
    chunks = ChunkSize(most=MOST, step_time=STEP_TIME)
    assert chunks.tokens(0) == FLOOR
    assert chunks.tokens(3) == FLOOR + 3


@pytest.mark.parametrize("streams", [1, 4, 8])
def test_a_step_with_streams_takes_twice_their_gap(streams: int) -> None:
    """The prompt's piece costs what a step of the streams costs, from the first steps on."""
    machine = Machine()
    prompts = run(warm(), machine, streams=streams, steps=30)
    longest = max(machine.step(prompt, streams) for prompt in prompts)
    assert longest <= 2.3 * machine.gap(streams)
    assert machine.step(prompts[-1], streams) == pytest.approx(2 * machine.gap(streams), rel=0.1)


def test_the_floor_holds_where_reading_the_weights_is_most_of_a_step() -> None:
    """A machine whose prompt tokens are dear still computes chunks worth their step."""
    prompts = run(warm(), Machine(token=0.004), streams=2, steps=30)
    assert prompts[-1] == FLOOR


def test_the_step_time_goes_before_the_floor() -> None:
    """A machine that needs longer for the floor than a step may take gets less."""
    machine = Machine(token=0.02)
    prompts = run(ChunkSize(most=MOST, step_time=STEP_TIME), machine, streams=2, steps=30)
    assert prompts[0] == FLOOR
    assert 1 < prompts[-1] < FLOOR
    assert machine.step(prompts[-1], 2) == pytest.approx(STEP_TIME, rel=0.1)


def test_streams_slower_than_the_step_time_do_not_starve_prompts() -> None:
    """A prompt goes on even where decoding alone takes longer than a step should."""
    prompts = run(warm(), Machine(fixed=0.4, token=0.004), streams=4, steps=30)
    assert prompts[-1] == pytest.approx(STEP_TIME / 4 / 0.004, rel=0.2)


def test_without_streams_the_step_time_is_filled() -> None:
    """Nobody waits, so a chunk is as large as cancelling allows."""
    machine, chunks = Machine(token=0.001), warm()
    for _ in range(30):
        size = chunks.tokens(0)
        chunks.note(size, 0, machine.step(size, 0))
    assert machine.step(chunks.tokens(0), 0) == pytest.approx(STEP_TIME, rel=0.1)


def test_the_most_is_never_exceeded() -> None:
    """However fast the machine is, a step holds what the batch can."""
    chunks = ChunkSize(most=MOST, step_time=STEP_TIME)
    prompts = run(chunks, Machine(token=1e-7), streams=4, steps=5)
    assert max(prompts) + 4 == MOST == chunks.tokens(4)
    assert ChunkSize(most=16, step_time=STEP_TIME).tokens(4) == 16


@pytest.mark.parametrize("seed", range(20))
def test_a_stolen_core_neither_shrinks_nor_inflates_the_chunk(seed: int) -> None:
    """Steps that are now and then fifty times slower change the choice by a small factor."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    machine = Machine(stolen=lambda: 50.0 if dice.random() < 0.05 else dice.uniform(0.9, 1.1))
    calm = Machine()
    expected = round(calm.gap(4) / calm.token)
    prompts = run(warm(), machine, streams=4, steps=200)
    assert min(prompts) >= FLOOR
    assert max(prompts) <= 4 * expected
    assert expected / 2 <= sorted(prompts)[len(prompts) // 2] <= expected * 2


def test_a_machine_that_becomes_slower_is_believed_in_the_end() -> None:
    """The bound on outliers only delays: after a while a step keeps to the new gap."""
    chunks = warm()
    run(chunks, Machine(), streams=4, steps=30)
    slow = Machine(fixed=0.020, row=0.002, token=0.005)
    prompts = run(chunks, slow, streams=4, steps=40)
    assert prompts[-1] == FLOOR


def test_the_cost_of_rows_is_learnt_as_a_line() -> None:
    """Steps of different sizes show what a row adds, also for sizes never seen."""
    cost, machine = StepCost(), Machine()
    for rows in (1, 4, 2, 8) * 10:
        cost.add(rows, machine.gap(rows))
    assert cost.of(16) == pytest.approx(machine.gap(16), rel=0.1)
    assert cost.of(0) == pytest.approx(machine.fixed, rel=0.1)


def test_one_row_count_says_nothing_about_others() -> None:
    """With streams of one number only, the line is level, and a chunk errs on the small side."""
    cost = StepCost()
    for _ in range(10):
        cost.add(4, 0.03)
    assert cost.of(8) == cost.of(4) == pytest.approx(0.03)
