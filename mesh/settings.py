"""Where settings come from: addresses, the state folder and the configuration file."""

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs

APP = "inference-mesh"
CONFIG_FILE = "mesh.toml"


@dataclass(frozen=True)
class Address:
    """A TCP address, written ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 means any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address in a text; raises ``ValueError`` that says what is expected."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"expected HOST:PORT such as 127.0.0.1:8080, got {text!r}")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"an IPv6 address goes in brackets, such as [::1]:8080, got {text!r}")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener there."""
    return host == "localhost" or host.startswith("127.") or host == "::1"


def lan_address(listening: Address) -> Address:
    """Return the address under which other machines reach a listener, as far as this one knows."""
    if listening.host not in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
        return listening
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: UDP only picks the route
        except OSError:
            return Address(socket.gethostname(), listening.port)
        return Address(probe.getsockname()[0], listening.port)


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(%)|([KMGT]?)(?:i?B)?)", re.IGNORECASE)


def memory_size(text: str, *, of: int) -> int:
    """Return bytes from ``8G``, ``512M`` or a share such as ``50%`` of so many bytes.

    Units are binary; ``GiB`` and ``GB`` mean the same as ``G``. Raises ``ValueError``.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"expected a size such as 8G or 50%, got {text!r}")
    number, is_share, unit = float(found[1]), found[2], found[3]
    return int(number / 100 * of if is_share else number * _UNITS[unit.upper()])


def pair(text: str) -> tuple[str, str]:
    """Return the two sides of ``NAME=VALUE``; raises ``ValueError`` that says what is expected."""
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value.strip()):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name.strip(), value.strip()


def default_state() -> Path:
    """Return the folder where a mesh keeps its broker data, credentials and run file."""
    return platformdirs.user_state_path(APP)


def find_config(folder: Path) -> Path | None:
    """Return the configuration file: the folder's own ``mesh.toml``, else the user's, if any."""
    candidates = (folder / CONFIG_FILE, platformdirs.user_config_path(APP) / CONFIG_FILE)
    return next((path for path in candidates if path.is_file()), None)
