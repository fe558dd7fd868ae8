"""The broker of this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from cli.options.flags import group
from cli.options.values import Addressed
from mesh.settings import Address

FILES_MB = 2048


@group("Broker")
@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """The broker of this machine."""

    nats_listen: Annotated[Addressed, Parameter(name=("--nats-listen", "--listen"))] = Address(
        "127.0.0.1", 4222
    )
    """Where workers and clients connect; 0.0.0.0:4222 lets other machines join; port 0: any."""
    nats_server: Path | None = None
    """nats-server binary; default: the bundled one, else the one on PATH."""
    files_mb: PositiveInt = FILES_MB
    """Megabytes of files that the broker keeps; uploads are refused when 3/4 are used."""
