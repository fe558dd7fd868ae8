"""How many threads an engine computes with, measured on the loaded model.

ggml's threads spin at barriers. One thread too many shares its core with the bus side, and then all
threads wait for it and the bus waits for them. So one core stays free, unless all cores are far
faster even beside a stand-in for the bus, and the stand-in is not kept waiting.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Protocol, Self

from mesh.clock import Clock, monotonic
from workers.llama.grain import ANY_NUMBER, GROUP, Grain
from workers.settings import STREAM_WINDOW

CHUNK = 64
"""Tokens of the prompt that is measured."""
TRIAL_SECONDS = 0.06
"""Time for one measurement, of which a thread count takes two at a turn."""
MOST_STEPS = 50
TURNS = 4
"""How often each thread count is measured, if there is time. The best counts: other parts of a mesh
may be starting, too, and a moment in which they had the cores must not settle it."""
FAR_FASTER = 1.15
"""Gain over one core less at which the bus side may be left without a core of its own."""
LONGEST_DELAY = 0.01
"""Seconds the stand-in may be late: half of what a frame may be delayed in all."""
CLEARLY_FASTER = 1.03
"""Gain that is worth more threads than the fewest with about the same speed."""
BEAT, BEAT_WORK = 0.002, 0.0002
"""Seconds between the stand-in's turns, and how long each computes: a gateway under some load."""
CALM_BEAT = STREAM_WINDOW
"""The same beside steps of one row: with one stream there is a report in so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Threads for steps of one row, and for all others: prompts and several streams."""

    single: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Seconds of a step of one row and of ``CHUNK`` rows; delay: how late the bus side would be."""

    single: float
    batch: float
    delay: float

    def or_better(self, other: Self | None) -> "Trial":
        """Return the best of both in each respect."""
        if other is None:
            return self
        return Trial(
            single=min(self.single, other.single),
            batch=min(self.batch, other.batch),
            delay=min(self.delay, other.delay),
        )


class Model(Protocol):
    """A loaded model whose steps can be timed."""

    def use_threads(self, single: int, batch: int) -> None:
        """Compute steps of one row with ``single`` threads and all others with ``batch``."""

    def try_out(self, tokens: int) -> None:
        """Compute a step of so many tokens, which leaves nothing behind."""


class Bus:
    """Stands for the bus side while steps are timed: wakes often, computes a little, is delayed."""

    def __init__(self, beat: float) -> None:
        """``beat``: seconds between its turns."""
        self._beat = beat
        self._delays: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus stand-in")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def delay(self) -> float:
        """Seconds by which it was late at most, but for one turn in a hundred."""
        seen = self._delays[:]
        return quantiles(seen, n=100, method="inclusive")[-1] if len(seen) > 1 else 0.0

    def _run(self) -> None:
        while not self._over.is_set():
            due = time.monotonic() + self._beat
            self._over.wait(self._beat)
            now = time.monotonic()
            self._delays.append(max(0.0, now - due))
            while time.monotonic() < now + BEAT_WORK:
                """Compute."""


def choose_threads(model: Model, cores: int, budget: float, clock: Clock = monotonic) -> Threads:
    """Try thread counts on a model for about ``budget`` seconds; leaves the best ones in use.

    ``cores``: how many this process may use.
    """
    trials: dict[int, Trial] = {}
    started = clock()
    model.try_out(1)  # the first step reads the weights from the disk
    for threads in candidates(cores) * TURNS:
        if trials and clock() - started >= budget:
            break
        trials[threads] = _try(model, threads, clock).or_better(trials.get(threads))
    chosen = decide(trials, cores)
    model.use_threads(chosen.single, chosen.batch)
    return chosen


def choose_grain(model: Model, depth: int, clock: Clock = monotonic) -> Grain:
    """Return whether rows should come in groups, by trying a whole one and one that lacks a row."""
    whole, less = _time(model, GROUP, clock), _time(model, GROUP - 1, clock)
    return Grain(GROUP, depth) if whole < less else ANY_NUMBER


def candidates(cores: int) -> list[int]:
    """Return the thread counts worth trying, the likeliest first."""
    spare = max(1, cores - 1)
    return list(dict.fromkeys([spare, cores, max(1, spare * 3 // 4), max(1, spare // 2)]))


def decide(trials: Mapping[int, Trial], cores: int) -> Threads:
    """Return the best thread counts out of those tried."""
    return Threads(
        single=_fastest(trials, cores, lambda trial: trial.single),
        batch=_fastest(trials, cores, lambda trial: trial.batch),
    )


def _fastest(trials: Mapping[int, Trial], cores: int, seconds: Callable[[Trial], float]) -> int:
    tried = sorted(count for count in trials if count < cores) or [cores]
    best = tried[0]
    for count in tried:
        if seconds(trials[count]) * CLEARLY_FASTER < seconds(trials[best]):
            best = count
    full = trials.get(cores)
    if full is None or full.delay > LONGEST_DELAY:
        return best
    return cores if seconds(full) * FAR_FASTER < seconds(trials[best]) else best


def _try(model: Model, threads: int, clock: Clock) -> Trial:
    model.use_threads(threads, threads)
    with Bus(CALM_BEAT) as calm:
        single = _time(model, 1, clock)
    with Bus(BEAT) as busy:
        batch = _time(model, CHUNK, clock)
    return Trial(single=single, batch=batch, delay=max(calm.delay, busy.delay))


def _time(model: Model, tokens: int, clock: Clock) -> float:
    """Return the median seconds of a step."""
    seen: list[float] = []
    began = clock()
    while not seen or (clock() - began < TRIAL_SECONDS and len(seen) < MOST_STEPS):
        started = clock()
        model.try_out(tokens)
        seen.append(clock() - started)
    return median(seen)
