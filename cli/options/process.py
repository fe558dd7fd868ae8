"""What every command takes: where state is, the broker, how to log, to print, to end."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat

from cli.options.flags import group
from cli.options.values import Hidden
from mesh.logs import LogFormat, LogLevel
from mesh.settings import default_state


@group("State and logs")
@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """Where a mesh keeps what it must remember."""

    state: Path = field(default_factory=default_state)
    """Folder of broker data, credentials and run.json."""


@group("State and logs")
@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """How to log; lines go to standard error."""

    log_level: LogLevel | None = None
    """Lowest severity that is written; default: info, for `mesh up` warning."""
    json_logs: bool | None = None
    """One JSON object per line; default: unless standard error is a terminal."""

    @property
    def form(self) -> LogFormat:
        """The format that was asked for."""
        chosen = {None: LogFormat.AUTO, True: LogFormat.JSON, False: LogFormat.TEXT}
        return chosen[self.json_logs]


@group("Life")
@dataclass(frozen=True, kw_only=True)
class LifeOptions:
    """How a long-running part starts and ends."""

    drain_timeout: NonNegativeFloat = 30.0
    """Seconds that running requests get to finish after SIGTERM or Ctrl-C."""
    ready_fd: Annotated[int | None, Hidden] = None
    """Inherited descriptor on which the supervisor hears that this part is ready."""
    ready_file: Path | None = None
    """File that exists while this part serves, for health checks."""


@group("Bus")
@dataclass(frozen=True, kw_only=True)
class BusOptions:
    """How to reach the broker; by default the mesh that runs in the state folder."""

    nats: str | None = None
    """Broker, nats://HOST:PORT; several separated by commas."""
    creds: Path | None = None
    """Credentials of this role: an nkey seed or a .creds file."""


@group("Output")
@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How to print."""

    json: Annotated[bool, Parameter(negative=())] = False
    """Print JSON for machines instead of a table for people."""
