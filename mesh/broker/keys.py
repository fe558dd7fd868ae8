"""One nkey per role: made on the first start, kept from then on."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nkeys

from mesh.accounts import Role
from mesh.broker.files import write_private
from mesh.broker.settings import BrokerError

_SEED_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Keys:
    """public: goes into the server's configuration. files: the secret seeds, for the clients."""

    public: Mapping[Role, str]
    files: Mapping[Role, Path]


def open_keys(folder: Path) -> Keys:
    """Return the keys of all roles, making those that do not exist yet.

    Raises ``BrokerError`` naming the file that cannot be read or written or holds no user's seed.
    """
    files = {role: folder / f"{role}.nk" for role in Role}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in files.values():
            if not file.exists():
                write_private(file, _new_seed())
    except OSError as error:
        raise BrokerError(f"cannot write keys to {folder}: {error.strerror}") from error
    return Keys(public={role: _public_key(file) for role, file in files.items()}, files=files)


def _new_seed() -> bytes:
    seed: bytes = nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER)
    return seed


def _public_key(file: Path) -> str:
    try:
        seed = file.read_bytes().strip()
    except OSError as error:
        raise BrokerError(f"cannot read the key {file}: {error.strerror}") from error
    if not _is_user_seed(seed):
        raise BrokerError(
            f"{file} does not hold a user's nkey seed (SU…): restore it, or delete it to get a new "
            "one, which everyone who uses the old one then needs"
        )
    public: bytes = nkeys.from_seed(bytearray(seed)).public_key
    return public.decode()


def _is_user_seed(seed: bytes) -> bool:
    """Tell whether a seed is whole: encoding it again also proves the checksum."""
    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed))
    except nkeys.NkeysError:
        return False
    if prefix != nkeys.PREFIX_BYTE_USER or len(raw) != _SEED_BYTES:
        return False
    return bool(nkeys.encode_seed(bytes(raw), prefix) == seed)
