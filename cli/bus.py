"""From flags to a connection to the broker."""

from pathlib import Path

from cli.options import BusOptions
from mesh import runfile
from mesh.accounts import Role
from mesh.bus import BusSettings


def bus_settings(bus: BusOptions, state: Path, role: Role, name: str = "") -> BusSettings:
    """Return the way to the broker: as given, else to the mesh that runs in the state folder.

    Key files are named after their role, and the role names the only inbox they may use.
    """
    if bus.creds is not None and bus.creds.stem in set(Role):
        role = Role(bus.creds.stem)
    if bus.nats is not None:
        return BusSettings(url=bus.nats, creds=bus.creds, role=role, name=name)
    running = runfile.require(state.expanduser())
    creds = bus.creds or Path(running.creds[role])
    return BusSettings(url=running.nats, creds=creds, role=role, name=name)
