"""Ties a child process to its parent: the kernel kills it when the parent dies, however that is.

A parent that ends in order stops its children itself; this is for SIGKILL and crashes. The child
first runs this file as a script, which asks the kernel and then becomes the wanted program.
``preexec_fn`` would do the same and may deadlock in a parent with threads. Linux only: elsewhere
such a child is left behind.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` (an absolute path first) on the tether."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> None:
    """Become ``command``; does not return."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew our wish
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
