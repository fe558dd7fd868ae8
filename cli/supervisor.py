"""Keeps the parts of ``mesh up`` running as processes of their own.

A part that ends before it was ever ready is a mistake in how it was started and ends the mesh; one
that dies later is started again after a pause that doubles while it keeps dying.
"""

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from subprocess import DEVNULL
from typing import BinaryIO, Protocol

import anyio
from anyio.abc import Process, TaskGroup, TaskStatus

from cli.readiness import Ready, notices
from mesh.broker.tether import tethered
from mesh.clock import monotonic
from mesh.errors import MeshError

PAUSE_FIRST = 0.2
PAUSE_MOST = 15.0
STEADY = 30.0
"""Seconds of service after which a death counts as the first one again."""
OF_THE_WHOLE = frozenset({"NOTIFY_SOCKET", "MESH_READY_FD", "MESH_READY_FILE"})
"""Environment variables by which the whole mesh says that it is ready; no part of it may."""
LAST_CALL = 3.0
"""Seconds that a part gets at least to end by itself."""


class PartFailed(MeshError):
    """A part of the mesh could not be started; its message is above."""


class Watcher(Protocol):
    """Whoever shows people what the parts do."""

    def starting(self, part: "Part", text: str) -> None:
        """Hear that a part is not ready yet; ``text`` says what it does, if it told."""

    def ready(self, part: "Part", notice: Ready, seconds: float) -> None:
        """Hear that a part serves, this long after it was started."""

    def lost(self, part: "Part", status: int, pause: float) -> None:
        """Hear that a part died and is started again after ``pause`` seconds."""

    def ended(self, part: "Part") -> None:
        """Hear that a part was told to end, did so in good order, and stays away."""


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """One process to run.

    command: arguments of ``mesh``; gets the address of the last run (a worker's is its name), empty
    at first, so that the part comes back as what it was.
    hidden: environment variables that this part has no business to see. environment: more of them,
    for this part alone. listener: opens what the process inherits as ``--http-fd``.
    """

    name: str
    command: Callable[[str], Sequence[str]]
    hidden: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    listener: Callable[[], AbstractContextManager[socket.socket]] | None = None


class Part:
    """A supervised process, started again when it dies."""

    def __init__(self, settings: PartSettings, watcher: Watcher) -> None:
        self.name = settings.name
        self.address = ""
        self.restarts = 0
        self.pid = 0
        self._settings, self._watcher = settings, watcher
        self._process: Process | None = None
        self._stopping = anyio.Event()
        self._ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the process up until stopped; started when it is ready for the first time.

        Raises ``PartFailed`` if it ends before that. Cancelling kills the process.
        """
        try:
            status = await self._run_once(task_status)
            pause = PAUSE_FIRST
            while status != 0 and not self._stopping.is_set():
                self._watcher.lost(self, status, pause)
                with anyio.move_on_after(pause):
                    await self._stopping.wait()
                    return
                self.restarts += 1
                began = monotonic()
                status = await self._run_once(anyio.TASK_STATUS_IGNORED)
                pause = PAUSE_FIRST if monotonic() - began > STEADY else min(2 * pause, PAUSE_MOST)
            self._watcher.ended(self)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Ask the process to drain and end, and wait until it has."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
        await self._ended.wait()

    async def _run_once(self, task_status: TaskStatus[None]) -> int:
        """Start the process, pass on its notices, and return its exit status."""
        began, first = monotonic(), self.restarts == 0
        ready = False
        async with self._spawned() as (process, fd):
            if self._stopping.is_set():  # asked to while the process was being made
                process.terminate()
            self._watcher.starting(self, "")
            async for notice in notices(fd):
                if isinstance(notice, Ready):
                    ready, self.address = True, notice.address or self.address
                    self._watcher.ready(self, notice, monotonic() - began)
                    task_status.started()
                else:
                    self._watcher.starting(self, notice.text)
            status = await process.wait()
        if first and not ready and not self._stopping.is_set():
            raise PartFailed(f"{self.name} did not start ({describe(status)})")
        return status

    @asynccontextmanager
    async def _spawned(self) -> AsyncIterator[tuple[Process, int]]:
        """Start the process with a pipe for its notices; killed if it still runs at the end.

        Its own session keeps a terminal's Ctrl-C away from it: the parts end in order.
        """
        with _pipe() as (reader, writer):
            process = await self._open_process(writer.fileno())
            writer.close()
            self._process, self.pid = process, process.pid
            try:
                yield process, reader.fileno()
            finally:
                if process.returncode is None:
                    process.kill()
                await process.aclose()

    async def _open_process(self, ready_fd: int) -> Process:
        settings = self._settings
        with ExitStack() as stack:
            descriptors = {"ready-fd": ready_fd}
            if settings.listener is not None:
                descriptors["http-fd"] = stack.enter_context(settings.listener()).fileno()
            flags = [f"--{name}={number}" for name, number in descriptors.items()]
            command = [*settings.command(self.address), *flags]
            return await anyio.open_process(
                tethered([sys.executable, "-P", "-m", "cli.main", *command]),
                stdin=DEVNULL,
                stdout=None,
                stderr=None,
                env={**_environment(settings.hidden), **settings.environment},
                start_new_session=True,
                pass_fds=tuple(descriptors.values()),
            )


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield the two ends of a pipe, closed at the latest with the context."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        yield reader, writer


async def start_together(parts: Sequence[Part], tasks: TaskGroup) -> None:
    """Start the parts at the same time and wait until all are ready."""
    async with anyio.create_task_group() as starting:
        for part in parts:
            starting.start_soon(tasks.start, part.run)


async def stop_in_order(waves: Sequence[Sequence[Part]], timeout: float) -> None:
    """Stop the parts wave by wave; what has not ended in time is left to be killed.

    Later waves get a little time even when an earlier one used all of it.
    """
    deadline = monotonic() + timeout
    for wave in waves:
        with anyio.move_on_after(max(deadline - monotonic(), LAST_CALL)):
            async with anyio.create_task_group() as tasks:
                for part in wave:
                    tasks.start_soon(part.stop)


def describe(status: int) -> str:
    """Return an exit status for people."""
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _environment(hidden: frozenset[str]) -> Mapping[str, str]:
    return {key: os.environ[key] for key in os.environ.keys() - hidden - OF_THE_WHOLE}
