"""What the parts of the mesh weigh: idle, and the gateway with many open streams."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import psutil

from bench import targets
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.load import Load
from bench.targets import Target, Workshop

IDLE_MB = {"gateway": 90.0, "worker": 80.0, "broker": 40.0}
STREAMS = 1000
STREAM_KB = 60.0
TOKENS = 300
"""Of a stream, one a second: more than the measurement takes."""
MB = 1_000_000.0
SETTLE = 10.0
"""Seconds after which a part that was just started counts as idle."""
TRIED = 32
"""Streams opened before the count, so that what is made once is not taken for a stream's."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure resident sizes; ``seconds`` and ``rounds`` play no part."""
    slow = {"slots": STREAMS + TRIED, "scripted_tps": 1, "scripted_tokens": TOKENS}
    with targets.mesh(shop, "memory", slow) as mesh:
        shop.say(f"idle for {SETTLE:g} s")
        time.sleep(SETTLE)
        idle = _resident(mesh)
        with _open_streams(mesh, TRIED):
            pass
        before = _resident(mesh)
        shop.say(f"{STREAMS} open streams")
        with _open_streams(mesh, STREAMS):
            during = _resident(mesh)
    details = {"idle": idle, "tried": before, "open": during}
    return Row(figures=(*_idle(idle), _per_stream(before, during)), details=details)


def _idle(resident: Mapping[str, float]) -> Iterator[Figure]:
    for part, size in resident.items():
        limit = IDLE_MB.get(part)
        goal = None if limit is None else Goal(text=f"≤ {limit:g} MB", at_most=limit)
        yield Figure(name=f"{part}, idle", unit="MB", value=size / MB, goal=goal)


def _per_stream(before: Mapping[str, float], during: Mapping[str, float]) -> Figure:
    return Figure(
        name=f"gateway, per open stream of {STREAMS}",
        unit="KB",
        value=(during["gateway"] - before["gateway"]) / STREAMS / 1000,
        goal=Goal(text=f"≤ {STREAM_KB:g} KB", at_most=STREAM_KB),
        note=f"the worker adds {(during['worker'] - before['worker']) / STREAMS / 1000:.0f} KB",
    )


def _resident(target: Target) -> dict[str, float]:
    return {part: psutil.Process(pid).memory_info().rss for part, pid in target.pids.items()}


@contextmanager
def _open_streams(target: Target, count: int) -> Iterator[None]:
    load = Load(url=target.url, clients=count, tokens=TOKENS, stream=True)
    command = [sys.executable, "-m", "bench.hold", msgspec.json.encode(load).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline() != b"open\n":
                raise BenchError(holder.stderr.read().decode(errors="replace")[-1000:])
            time.sleep(SETTLE / 2)  # every stream gets a few tokens
            yield
            if holder.poll() is not None:
                raise BenchError(holder.stderr.read().decode(errors="replace")[-1000:])
        finally:
            holder.terminate()
