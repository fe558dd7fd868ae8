"""What a broker needs for itself alone: an address and its state folder."""

import errno
import fcntl
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio

from mesh.broker.settings import BrokerError

_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def reachable(host: str) -> str:
    """Return where this machine reaches a server that listens on ``host``."""
    return _ANYWHERE.get(host, host)


def shown(host: str, port: int) -> str:
    """Return HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def claimed(state: Path) -> Iterator[None]:
    """Hold a state folder: two servers over the same JetStream files would ruin them."""
    with ExitStack() as stack:
        try:
            state.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((state / "broker.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerError(
                f"another broker uses the state folder {state}: stop it, or choose another folder"
            ) from error
        except OSError as error:
            raise BrokerError(f"cannot use the state folder {state}: {error.strerror}") from error
        yield


async def check_address(host: str, port: int) -> None:
    """Raise ``BrokerError`` saying what to do if nothing can listen on an address now."""
    try:
        (family, kind, _, _, address), *_ = await anyio.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise BrokerError(f"cannot listen on {shown(host, port)}: {_advice(error)}") from error


def _advice(error: OSError | UnicodeError) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "another program holds this port; choose another one, or 0 for any free one"
        case errno.EACCES:
            return "this port needs privileges; choose one above 1023"
        case _:
            return f"not an address of this machine ({error})"
