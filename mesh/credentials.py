"""Reading the credentials that ``--creds`` names: an nkey seed, or a ``.creds`` file with a JWT."""

from pathlib import Path
from typing import Any

import nkeys

from mesh.errors import PermissionDenied


def login_options(path: Path | None) -> dict[str, Any]:
    """Return what nats-py is told to log in; raises ``PermissionDenied`` naming the file."""
    if path is None:
        return {}
    try:
        text = path.read_text()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise PermissionDenied(f"cannot read the credentials file {path}: {reason}") from None
    if "BEGIN NATS USER JWT" in text:
        return {"user_credentials": str(path)}
    seed = text.strip()
    try:
        nkeys.from_seed(bytearray(seed.encode())).wipe()
    except (nkeys.NkeysError, ValueError):
        raise PermissionDenied(f"the credentials file {path} holds no nkey seed") from None
    return {"nkeys_seed_str": seed}
