"""From flags to a connection to the broker."""

from pathlib import Path

from cli.options import BusOptions, UsageError
from mesh import runfile
from mesh.accounts import Role
from mesh.bus import BusSettings

STAND_INS = {
    Role.GATEWAY: {Role.EDGE_GATEWAY},
    Role.CLIENT: {Role.EDGE_CLIENT, Role.GATEWAY, Role.EDGE_GATEWAY},
}
"""Whose keys serve a role as well. An edge-only gateway takes its own alone: with another one the
cloud would exist for it."""


def key_role(creds: Path | None, default: Role) -> Role:
    """Return the role that a key file is named after."""
    return Role(creds.stem) if creds is not None and creds.stem in set(Role) else default


def bus_settings(bus: BusOptions, state: Path, role: Role, name: str = "") -> BusSettings:
    """Return the way to the broker: as given, else to the mesh that runs in the state folder.

    Key files are named after their role, and the role names the only inbox they may use. Raises
    ``UsageError`` for a key that the broker would let in and then deny everything.
    """
    holder = key_role(bus.creds, role)
    if holder is not role and holder not in STAND_INS.get(role, ()):
        raise UsageError(f"--creds {bus.creds}: the key of another role; {role}.nk is needed here")
    if bus.nats is not None:
        return BusSettings(url=bus.nats, creds=bus.creds, role=holder, name=name)
    running = runfile.require(state.expanduser())
    creds = bus.creds or Path(running.creds[holder])
    return BusSettings(url=running.nats, creds=creds, role=holder, name=name)
