"""Durable jobs: how long one takes, how many a second, and submitting when many wait.

Many a second once with one worker that has all slots, and once with a process for each slot.
"""

import subprocess
import sys
from pathlib import Path

import msgspec
import psutil

from bench import targets
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.jobload import JobLoad
from bench.targets import Workshop
from mesh import runfile

FOLDER, APART = "jobs", "jobs-apart"
SLOTS = 8
ENGINE = {"scripted_tokens": 1}
"""A job costs its worker next to nothing: what is measured is everything else."""
QUEUED_PER_SECOND = 25_000
"""Jobs to queue for each second that is asked for: 100,000 by default."""
WHOLE_MS, RATE, SUBMIT_MS, GROWTH_MB = 5.0, 1000.0, 5.0, 64.0


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure on one mesh with the scripted engine; ``rounds`` plays no part."""
    queued = round(QUEUED_PER_SECOND * seconds)
    apart = _workers_apart(shop, seconds)
    flags = {"slots": SLOTS, **ENGINE}
    with targets.mesh(shop, FOLDER, flags):
        run = runfile.require(shop.folder / FOLDER)
        runner = psutil.Process(next(part.pid for part in run.parts if part.name == "runner"))
        before = runner.memory_info().rss
        shop.say(f"jobs one by one, 64 at once, then {queued} waiting")
        load = _load(run.nats, Path(run.creds["client"]), seconds, queued)
        grown = (runner.memory_info().rss - before) / 1e6
    figures = (*_figures(load, grown), _rate(apart, f"{SLOTS} workers with a slot each"))
    return Row(figures=figures, details={"jobs": load, "workers apart": apart})


def _workers_apart(shop: Workshop, seconds: float) -> JobLoad:
    flags = {"slots": 1, **ENGINE}
    with (
        targets.mesh(shop, APART, flags),
        targets.more_workers(shop, APART, SLOTS - 1, flags),
    ):
        run = runfile.require(shop.folder / APART)
        shop.say(f"jobs 64 at once, for {SLOTS} workers")
        return _load(run.nats, Path(run.creds["client"]), seconds, 0)


def _figures(load: JobLoad, grown: float) -> tuple[Figure, ...]:
    tail = f"p99 {load.whole.p99:.1f} ms"
    return (
        Figure(
            name="job from submission to result p50",
            unit="ms",
            value=load.whole.p50,
            goal=Goal(text=f"≤ {WHOLE_MS:g} ms", at_most=WHOLE_MS),
            note=tail,
        ),
        _rate(load, f"a worker with {SLOTS} slots"),
        Figure(
            name=f"submission p50 with {load.queued} jobs waiting",
            unit="ms",
            value=load.submit.p50,
            goal=Goal(text=f"≤ {SUBMIT_MS:g} ms", at_most=SUBMIT_MS),
            note=f"p99 {load.submit.p99:.1f} ms",
        ),
        Figure(
            name=f"growth of the runner with {load.queued} jobs waiting",
            unit="MB",
            value=grown,
            goal=Goal(text=f"≤ {GROWTH_MB:g} MB", at_most=GROWTH_MB),
            note="resident memory",
        ),
    )


def _rate(load: JobLoad, workers: str) -> Figure:
    return Figure(
        name=f"jobs a second, {load.in_flight} at once, {workers}",
        unit="/s",
        value=load.rate,
        goal=Goal(text=f"≥ {RATE:g}/s", at_least=RATE),
        note="one runner process",
    )


def _load(nats: str, creds: Path, seconds: float, queued: int) -> JobLoad:
    command = [sys.executable, "-m", "bench.jobload", nats, str(creds)]
    options = [f"--seconds={seconds}", f"--queued={queued}"]
    done = subprocess.run([*command, *options], capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.decode(errors="replace")[-1000:])
    return msgspec.json.decode(done.stdout, type=JobLoad)
