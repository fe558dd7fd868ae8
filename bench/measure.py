"""Runs the load generator against targets, in turns, and says what each process spent."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
import psutil
from msgspec.structs import replace

from bench.failures import BenchError
from bench.load import Load, LoadResult
from bench.targets import Target
from schemas.wire import Message


class Measured(Message, frozen=True, kw_only=True):
    """One target under one load, all rounds. cpu_ms: processor time per answer of each part."""

    target: str
    rounds: tuple[LoadResult, ...]
    cpu_ms: dict[str, float]

    @property
    def rate(self) -> float:
        """Answers per second, the median round's."""
        return median(result.rate for result in self.rounds)

    @property
    def p50(self) -> float:
        """Milliseconds, the median round's."""
        return median(result.latency.p50 for result in self.rounds)

    @property
    def p99(self) -> float:
        """Milliseconds, the median round's."""
        return median(result.latency.p99 for result in self.rounds)

    @property
    def cpu(self) -> float:
        """Milliseconds of processor time per answer, of all parts."""
        return sum(self.cpu_ms.values())

    @property
    def first_token(self) -> float:
        """Milliseconds to the first token, the median round's median."""
        return median(result.first_token.p50 for result in self.rounds if result.first_token)

    @property
    def events(self) -> float:
        """Events with text per answer."""
        return median(result.events for result in self.rounds)


def put_on(name: str, load: Load) -> LoadResult:
    """Put one load on the target of this name, in a process of its own."""
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        problem = done.stderr.decode(errors="replace").strip()[-1000:]
        raise BenchError(f"{name}: {problem}")
    return msgspec.json.decode(done.stdout, type=LoadResult)


def compare(load: Load, targets: Sequence[Target], rounds: int) -> dict[str, Measured]:
    """Put the same load on every target, round by round, each round with another one first.

    In turns, so that what else the machine does hits all of them alike.
    """
    rows = [Rounds(target) for target in targets]
    for number in range(rounds):
        first = number % len(rows)
        for row in [*rows[first:], *rows[:first]]:
            row.run(load)
    return {row.target.name: row.measured() for row in rows}


class Rounds:
    """The rounds of one target under one load."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._results: list[LoadResult] = []
        self._spent = dict.fromkeys(target.pids, 0.0)
        self._worked = 0

    def run(self, load: Load) -> None:
        """Add a round."""
        before = processor_time(self.target.pids)
        result = put_on(self.target.name, replace(load, url=self.target.url, key=self.target.key))
        for part, spent in processor_time(self.target.pids).items():
            self._spent[part] += spent - before[part]
        self._results.append(result)
        self._worked += result.answers + result.warmup

    def measured(self) -> Measured:
        """Return what all rounds showed."""
        cpu_ms = {part: 1000 * spent / self._worked for part, spent in self._spent.items()}
        return Measured(target=self.target.name, rounds=tuple(self._results), cpu_ms=cpu_ms)


def processor_time(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the seconds of processor time that each part, with its children, has used."""
    others = set(pids.values())
    return {part: _with_children(pid, others) for part, pid in pids.items()}


def _with_children(pid: int, others: set[int]) -> float:
    process = psutil.Process(pid)
    children = [child for child in process.children(recursive=True) if child.pid not in others]
    times = [each.cpu_times() for each in (process, *children)]
    return sum(each.user + each.system for each in times)
