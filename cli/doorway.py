"""One address for several processes: who binds it, and what each process listens on.

Where the kernel spreads connections over sockets bound to one address (Linux), each process gets a
socket of its own: one that dies takes its own queue with it, and new connections go to the others.
Elsewhere all processes inherit the same socket.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Self

from mesh.errors import MeshError
from mesh.settings import Address

BACKLOG = 1024
"""Connections that wait in a shared socket until some process accepts them."""


class CannotShare(MeshError):
    """The address cannot be bound."""


class Sharing(Enum):
    """How several processes listen on one address."""

    SPREAD = auto()
    """A socket each; the kernel spreads the connections (``SO_REUSEPORT`` as Linux means it)."""
    INHERITED = auto()
    """The same socket for all."""

    @classmethod
    def here(cls) -> Self:
        """Return what this platform does well: others have the option, but do not spread."""
        return cls.SPREAD if sys.platform == "linux" else cls.INHERITED


class Doorway:
    """An address that stays bound, whichever processes come and go. Made by ``doorway``."""

    def __init__(self, bound: socket.socket, sharing: Sharing) -> None:
        self._bound, self._sharing = bound, sharing
        host, port, *_ = bound.getsockname()
        self.address = Address(host, port)

    @contextmanager
    def listener(self) -> Iterator[socket.socket]:
        """Yield what one process is to inherit; this process's own copy is closed afterwards."""
        if self._sharing is Sharing.INHERITED:
            yield self._bound
            return
        with _bound(self.address, self._sharing) as own:
            yield own


@contextmanager
def doorway(address: Address, sharing: Sharing) -> Iterator[Doorway]:
    """Hold an address; raises ``CannotShare`` if it is taken or not this machine's."""
    with _bound(address, sharing) as bound:
        if sharing is Sharing.INHERITED:
            bound.listen(BACKLOG)
        # Else it only holds the port: a socket that does not listen is given no connections.
        yield Doorway(bound, sharing)


@contextmanager
def _bound(address: Address, sharing: Sharing) -> Iterator[socket.socket]:
    try:
        family, kind, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise CannotShare(f"--http: cannot listen on {address}: {error}") from error
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sharing is Sharing.SPREAD:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind(name)
        except OSError as error:
            raise CannotShare(f"--http: cannot listen on {address}: {error.strerror}") from error
        yield bound
