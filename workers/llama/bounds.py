"""Bounds on code that cannot be trusted: CPU time and memory."""

import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

STATM = Path("/proc/self/statm")


class OutOfTime(Exception):
    """The guarded code used up its CPU time."""


@contextmanager
def bounded(*, cpu_seconds: float, memory: int) -> Iterator[None]:
    """Raise ``OutOfTime`` or ``MemoryError`` in the body when it takes more; main thread only.

    ``memory``: bytes the body may add to what the process has mapped (on Linux).
    """
    with ExitStack() as stack:
        stack.enter_context(_memory_limit(memory))
        stack.enter_context(_cpu_limit(cpu_seconds))
        yield


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Count this process's own CPU time, and leave the real-time alarm to others."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _memory_limit(extra: int) -> Iterator[None]:
    if not STATM.exists():
        yield
        return
    mapped = int(STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + extra
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
