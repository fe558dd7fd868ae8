"""Starts the processes of a benchmark, waits until they serve, and sees that none stays behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.failures import NotStarted
from mesh.broker.tether import tethered

STOP_TIMEOUT = 15.0
POLL = 0.05


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> Callable[[], bool]:
    """Return a check whether someone accepts connections on a port."""

    def check() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Iterator[psutil.Process]:
    """Run a command (an absolute path first) for as long as the context lasts.

    Output goes to ``log``. Raises ``NotStarted`` with the log's end if it is not ready in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    try:
        _wait(process, ready, timeout, log)
        yield psutil.Process(process.pid)
    finally:
        _stop(process)


def _wait(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], timeout: float, log: Path
) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        status = process.poll()
        if status is not None or time.monotonic() > deadline:
            what = f"not ready after {timeout:g} s" if status is None else f"exit status {status}"
            tail = log.read_text(errors="replace")[-2000:]
            raise NotStarted(f"{log.stem}: {what}: {tail}")
        time.sleep(POLL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
