"""The run file: how commands on this machine find a mesh that ``mesh up`` started.

``STATE/run.json`` holds addresses, process ids and paths of credentials, never secrets. It is
replaced as a whole at every change and removed on a clean stop; the supervisor's process id tells
one that a crash left behind from a live one.
"""

import os
from pathlib import Path

import msgspec
import psutil

from mesh.errors import BusUnavailable

NAME = "run.json"


class RunningPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a running mesh; ``address`` is empty for parts that listen nowhere."""

    name: str
    pid: int
    address: str = ""
    restarts: int = 0


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """A running mesh: ``creds`` maps roles to seed files, ``pid`` is the supervisor's."""

    pid: int
    nats: str
    base_url: str = ""
    creds: dict[str, str] = {}
    parts: tuple[RunningPart, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether the supervisor still runs."""
        return psutil.pid_exists(self.pid)


def path_in(state: Path) -> Path:
    """Return where the run file of a state folder lies."""
    return state / NAME


def write(state: Path, run: RunFile) -> None:
    """Replace the run file in one step, so that no reader sees half of it."""
    target = path_in(state)
    draft = target.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")
    draft.replace(target)


def read(state: Path) -> RunFile | None:
    """Return what runs in a state folder, ``None`` if nothing does."""
    try:
        run = msgspec.json.decode(path_in(state).read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return run if run.alive else None


def require(state: Path) -> RunFile:
    """Return what runs in a state folder; raises ``BusUnavailable`` that says what to do."""
    run = read(state)
    if run is None:
        raise BusUnavailable(
            f"no mesh runs in {state}: start one with `mesh up`, name its folder with --state, "
            "or its broker with --nats and --creds"
        )
    return run


def remove(state: Path) -> None:
    """Remove the run file if it is this process's own."""
    run = read(state)
    if run is not None and run.pid == os.getpid():
        path_in(state).unlink(missing_ok=True)
