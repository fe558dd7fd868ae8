"""Durable jobs: how long one takes, how many a second, and submitting when many wait."""

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

FOLDER = "jobs"
SLOTS = 8
QUEUED_PER_SECOND = 25_000
"""Jobs to queue for each second that is asked for: 100,000 by default."""
WHOLE_MS, RATE, SUBMIT_MS, GROWTH_MB = 5.0, 1000.0, 5.0, 64.0


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure on one mesh with the scripted engine; ``rounds`` plays no part."""
    queued = round(QUEUED_PER_SECOND * seconds)
    flags = {"slots": SLOTS, "scripted_tokens": 1}
    with targets.mesh(shop, FOLDER, flags):
        run = runfile.require(shop.folder / FOLDER)
        runner = psutil.Process(next(part.pid for part in run.parts if part.name == "runner"))
        before = runner.memory_info().rss
        shop.say(f"jobs one by one, 64 at once, then {queued} waiting")
        load = _load(run.nats, Path(run.creds["client"]), seconds, queued)
        grown = (runner.memory_info().rss - before) / 1e6
    return Row(figures=_figures(load, grown), details={"jobs": load})


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
        Figure(
            name=f"jobs a second, {load.in_flight} at once, {SLOTS} slots",
            unit="/s",
            value=load.rate,
            goal=Goal(text=f"≥ {RATE:g}/s", at_least=RATE),
            note="one runner process",
        ),
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


def _load(nats: str, creds: Path, seconds: float, queued: int) -> JobLoad:
    command = [sys.executable, "-m", "bench.jobload", nats, str(creds)]
    options = [f"--seconds={seconds}", f"--queued={queued}"]
    done = subprocess.run([*command, *options], capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.decode(errors="replace")[-1000:])
    return msgspec.json.decode(done.stdout, type=JobLoad)
