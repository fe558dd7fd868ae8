"""How much of a step background sequences get beside interactive ones, and without any."""

from typing import Any

import pytest

from tests.unit.test_llama_scheduler import sequence
from workers.llama.chunking import ChunkSize
from workers.llama.courtesy import SHARE, WORTHWHILE, Courtesy
from workers.llama.hold import LONGEST
from workers.llama.load import Load, load_of
from workers.llama.scheduler import schedule
from workers.llama.sequence import Sequence, Work
from workers.llama.waits import LASTS, TOLERATED, Waits

FIXED, ROW = 0.008, 0.002
"""Seconds of a step, and of each row in it."""
MOST, STEP_TIME = 256, 0.25


def gap(rows: int) -> float:
    return FIXED + ROW * rows


class Machine:
    """Computes steps and tells what they took, as the loop does."""

    def __init__(self, row: float = ROW) -> None:
        self.row, self.now = row, 0.0
        self.chunk = ChunkSize(most=MOST, step_time=STEP_TIME)
        self.kind = Courtesy(self.chunk)
        for _ in range(30):
            self.step([prompt()])
            self.step([stream()])
        self.now = 0.0

    def step(self, running: list[Sequence]) -> list[Work]:
        """Compute a step; nobody gets on with it."""
        chosen, tokens = self.kind.select(running, self.now)
        plan = schedule(chosen, tokens)
        load = load_of(plan)
        wanted = load_of([work for work in plan if not work.sequence.is_background])
        background = Load(load.prompt - wanted.prompt, load.streams - wanted.streams)
        seconds = FIXED + self.row * sum(load)
        self.now += seconds
        self.chunk.note(load.prompt, load.streams, seconds)
        self.kind.note(wanted, background, seconds, self.now)
        if sum(load) == 1:
            self.kind.note_single(seconds)
        return plan

    def steps(self, running: list[Sequence], count: int) -> tuple[float, float, int]:
        """Compute many; return seconds, the longest of them, and what background work got."""
        began, longest, tokens = self.now, 0.0, 0
        for _ in range(count):
            before = self.now
            plan = self.step(running)
            longest = max(longest, self.now - before)
            tokens += sum(len(work.tokens) for work in plan if work.sequence.is_background)
        return self.now - began, longest, tokens


def stream(**changes: Any) -> Sequence:
    """Return a sequence whose tokens somebody sees arrive."""
    return sequence(5, tokens=list(range(6)), num_computed=5, **{"is_watched": True} | changes)


def whole() -> Sequence:
    return stream(is_watched=False)


def prompt(**changes: Any) -> Sequence:
    return sequence(1000, **changes)


def test_without_background_work_nothing_changes() -> None:
    """All that runs takes part, in a step as large as ever."""
    machine, running = Machine(), [stream(), prompt()]
    assert machine.kind.select(running, 0.0) == (running, machine.chunk.tokens(1))


def test_whole_answers_wait_while_prompts_are_read() -> None:
    """Nobody sees them pause, and together they are computed sooner; a second is the most."""
    machine = Machine()
    running, took_part = [whole(), prompt(), prompt()], []
    while machine.now < 2 * LONGEST + 1:
        took_part.append(any(not work.sequence.is_prefilling for work in machine.step(running)))
    assert took_part.count(True) == 2
    machine.now = 0.0
    assert machine.kind.select([whole(), whole()], 0.0)[1] >= 2
    assert running[0] not in machine.kind.select(running, 0.0)[0]


def test_where_somebody_watches_all_go_on() -> None:
    """A stream gets its token in every step, and whole answers beside it cost little more."""
    running = [whole(), stream(), prompt()]
    plan = Machine().step(running)
    assert [work.sequence for work in plan] == running


def test_nothing_runs_beside_an_interactive_prompt() -> None:
    """Until its first token an interactive request has the steps for itself and its like."""
    talk, question = stream(), prompt()
    background = [stream(is_background=True), prompt(is_background=True)]
    plan = Machine().step([*background, talk, question])
    assert [work.sequence for work in plan] == [talk, question]


@pytest.mark.parametrize("row", [0.001, 0.002, 0.008], ids=["quick", "usual", "dear"])
@pytest.mark.parametrize("others", [1, 3], ids=["one row", "several rows"])
def test_background_rows_cost_interactive_streams_a_tenth(others: int, row: float) -> None:
    """Over many steps streams are slowed down by the share at most, and background moves on."""
    machine, streams = Machine(row), [stream(), stream()]
    alone = (FIXED + 2 * row) * 500
    background = [stream(is_background=True) for _ in range(others)]
    seconds, longest, tokens = machine.steps([*background, *streams], 500)
    assert seconds <= alone * (1.01 + SHARE)
    assert longest <= 2.1 * (FIXED + 2 * row)
    assert tokens * row >= alone * SHARE / 2 or tokens == 500 * others


def test_background_prompts_move_on_beside_interactive_streams() -> None:
    """Their pieces take what is saved up, and never make a step much more than twice as long."""
    machine, alone = Machine(), gap(1) * 500
    seconds, longest, tokens = machine.steps([stream(), prompt(is_background=True)], 500)
    assert seconds <= alone * (1.01 + SHARE)
    assert longest <= 2.2 * gap(1)
    assert tokens * ROW >= alone * SHARE / 2


def test_where_rows_cost_nothing_all_ride_along() -> None:
    """On a machine that computes many rows as quickly as one, background work goes on beside."""
    machine = Machine(row=0.0)
    background = [stream(is_background=True) for _ in range(3)]
    assert machine.steps([stream(), *background], 100)[2] > 290


def test_alone_background_work_has_everything() -> None:
    """Where nobody asks for anything, steps are as large as ever."""
    machine, jobs = Machine(), [stream(is_background=True), prompt(is_background=True)]
    assert machine.kind.select(jobs, 0.0) == (jobs, machine.chunk.tokens(1))


def test_steps_stay_short_where_interactive_requests_come() -> None:
    """A step lasts no longer than a small part of such a request's time to its first token."""
    machine, jobs = Machine(), [stream(is_background=True) for _ in range(4)]
    machine.kind.waits.note(0.6, 0.0)
    _, longest, tokens = machine.steps([*jobs, prompt(is_background=True)], 100)
    assert gap(10) < longest <= TOLERATED * 0.6 * 1.1
    assert tokens > 1000
    _, longest, _ = machine.steps(jobs, 100)
    assert longest <= TOLERATED * 0.6
    whole, _ = machine.kind.select(jobs, machine.now + LASTS)
    assert whole == jobs


def test_short_requests_do_not_bring_background_work_to_a_halt() -> None:
    """Where a tenth is less than a step can be, a few rows or a small piece are computed."""
    machine = Machine()
    machine.kind.waits.note(0.01, 0.0)
    _, longest, tokens = machine.steps([stream(is_background=True) for _ in range(20)], 100)
    assert longest <= WORTHWHILE * gap(1) * 1.1
    assert tokens > 200
    _, longest, tokens = machine.steps([prompt(is_background=True)], 100)
    assert longest <= WORTHWHILE * gap(1) * 1.25
    assert tokens > 200


def test_the_typical_wait_counts_and_is_forgotten() -> None:
    """One slow request does not make the others' time longer, and old ones say nothing."""
    waits = Waits()
    assert waits.tolerated(0.0) is None
    for seconds in (0.2, 0.2, 9.0):
        waits.note(seconds, 10.0)
    assert waits.tolerated(20.0) == pytest.approx(TOLERATED * 0.2)
    assert waits.tolerated(11.0 + LASTS) is None
