"""The life of a command: the event loop, the logs, the signals that end it."""

import os
import signal
from collections.abc import Awaitable, Callable

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
    """Turns signals into an end in good order.

    The first one asks a part that serves to drain; before that there is nothing to drain, and the
    start is broken off. The second one breaks the drain off.
    """

    def __init__(self, announcer: Announcer) -> None:
        self.asked = anyio.Event()
        self.body = anyio.CancelScope()
        self._announcer = announcer

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow the signals until cancelled."""
        with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
            task_status.started()
            async for _ in signals:
                if self.asked.is_set() or not self._announcer.serving:
                    break
                self.asked.set()
        self.body.cancel()
        await anyio.sleep(LAST_CALL)
        os._exit(ABANDONED)  # something holds the exit up, behind a shield or in a library


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
            stop = Stop(announcer)
            async with background(stop.listen):
                with stop.body:
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
