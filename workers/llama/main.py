"""The engine process: loads one model and runs the step loop between two ends of a pipe.

It ends when its pipe closes, whatever the reason: the agent stopped it, or died.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

from mesh.housekeeping import look_less_often
from workers.llama.boot import CannotServe, boot
from workers.llama.messages import Cancel, Loading, Open, Refused, Submit, ToEngine
from workers.llama.pipe import Pipe
from workers.llama.reports import Reports
from workers.llama.steps import Steps

REPORT_EVERY = 0.1
"""Seconds between reports while a model loads."""


def main() -> None:
    """Run until the pipe closes."""
    # The agent decides when to stop: a Ctrl-C in the terminal or a service manager's SIGTERM
    # reaches the whole group, and running streams must still be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Else ggml starts a debugger when it aborts, and nobody hears of the crash meanwhile.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    # Anything that prints must not end up between the frames.
    pipe = Pipe(sys.stdin.fileno(), os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        run(pipe)
    except (EOFError, BrokenPipeError):
        sys.exit(0)


def run(pipe: Pipe) -> None:
    """Load the model that the first message names, and serve it."""
    options = _first_order(pipe)
    os.nice(options.nice)
    try:
        loop, opened = boot(options, LoadReport(pipe).note)
    except CannotServe as error:
        pipe.send(Refused(detail=str(error)))
        return
    look_less_often()
    pipe.send(opened)
    serve(loop, pipe)


class LoadReport:
    """Tells the agent how far loading is, a few times a second."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._due = 0.0

    def note(self, fraction: float) -> bool:
        """Take note; returns whether the agent is still there to want the model."""
        if not self._pipe.is_open():
            return False
        now = time.monotonic()
        if now >= self._due or fraction == 1:
            self._due = now + REPORT_EVERY
            self._pipe.send(Loading(fraction))
        return True


def _first_order(pipe: Pipe) -> Open:
    while True:
        for message in pipe.receive(None):
            if isinstance(message, Open):
                return message


def serve(loop: Steps, pipe: Pipe) -> None:
    """Step while there is work, sleep on the pipe while there is none; ends with ``EOFError``."""
    reports = Reports(pipe.send)
    while True:
        if loop.patience != 0:
            reports.flush()
        if orders := pipe.receive(loop.patience):
            _pass_on(orders, loop, reports)
            # Reading a prompt takes a while: what comes meanwhile belongs into the same step.
            _pass_on(pipe.receive(0), loop, reports)
        if not loop.is_idle:
            reports.add(loop.step())


def _pass_on(orders: Iterable[ToEngine], loop: Steps, reports: Reports) -> None:
    for order in orders:
        if isinstance(order, Submit | Cancel):
            reports.expect(order)
            loop.handle(order)


if __name__ == "__main__":
    main()
