"""The life of a command: the event loop, the logs, the signals that end it."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

from cli.options import LifeOptions, LogOptions
from cli.readiness import Announcer
from mesh import logs
from mesh.background import background

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


LAST_CALL = 2.0
"""Seconds from the second signal until the process is gone, whatever it does."""
ABANDONED = 130


class Stop:
    """Whether the process was asked to end: once means drain, twice means hurry."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.hurried = anyio.Event()

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Note the signals until cancelled."""
        with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
            task_status.started()
            async for _ in signals:
                if self.asked.is_set():
                    break
                self.asked.set()
        self.hurried.set()
        await anyio.sleep(LAST_CALL)
        os._exit(ABANDONED)  # something holds the exit up, behind a shield or in a library

    async def unless_hurried(self, drain: Awaitable[None]) -> None:
        """Wait for a drain, which bounds itself, but not after the second signal."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_hurried, tasks.cancel_scope)
            await drain
            tasks.cancel_scope.cancel()

    async def _cancel_when_hurried(self, scope: anyio.CancelScope) -> None:
        await self.hurried.wait()
        scope.cancel()


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """Note SIGINT, SIGTERM and SIGHUP inside the context instead of dying from them."""
    stop = Stop()
    async with background(stop.listen):
        yield stop


def run(main: Callable[[], Awaitable[None]], log: LogOptions) -> None:
    """Set up logging and run an async command on uvloop."""
    logs.configure(log.log_level or logs.LogLevel.INFO, log.form)
    anyio.run(main, backend_options={"use_uvloop": True})


def run_role(
    serve: Callable[[Announcer, Stop], Awaitable[None]], life: LifeOptions, log: LogOptions
) -> None:
    """Run a long-lived part of the mesh until it is told to stop."""

    async def main() -> None:
        with Announcer(life.ready_fd, life.ready_file) as announcer:
            async with stoppable() as stop:
                await serve(announcer, stop)

    run(main, log)


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return as soon as one of the calls does; the others are cancelled."""
    async with anyio.create_task_group() as tasks:

        async def wait_for(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            tasks.cancel_scope.cancel()

        for wait in waits:
            tasks.start_soon(wait_for, wait)
