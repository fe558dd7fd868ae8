"""The engine process: loads one model and runs the step loop between two ends of a pipe.

It ends when its pipe closes, whatever the reason: the agent stopped it, or died.
"""

import os
import signal
import sys

from workers.llama.boot import CannotServe, boot
from workers.llama.loop import Loop
from workers.llama.messages import Cancel, Open, Refused, Submit
from workers.llama.pipe import Pipe


def main() -> None:
    """Run until the pipe closes."""
    # The agent decides when to stop: a Ctrl-C in the terminal or a service manager's SIGTERM
    # reaches the whole group, and running streams must still be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
        loop, opened = boot(options, pipe.is_open)
    except CannotServe as error:
        pipe.send(Refused(detail=str(error)))
        return
    pipe.send(opened)
    serve(loop, pipe)


def _first_order(pipe: Pipe) -> Open:
    while True:
        for message in pipe.receive(wait=True):
            if isinstance(message, Open):
                return message


def serve(loop: Loop, pipe: Pipe) -> None:
    """Step while there is work, sleep on the pipe while there is none; ends with ``EOFError``."""
    while True:
        for message in pipe.receive(wait=loop.is_idle):
            if isinstance(message, Submit | Cancel):
                loop.handle(message)
        if not loop.is_idle:
            pipe.send(loop.step())


if __name__ == "__main__":
    main()
