"""What arrives on the bus, and the private inboxes to which replies come."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol, Self

import msgspec

from mesh.errors import BusUnavailable, NoResponders, PermissionDenied


class Status(Enum):
    """What a delivery is."""

    MESSAGE = auto()
    NO_RESPONDERS = auto()
    DENIED = auto()
    DISCONNECTED = auto()


class Delivery(msgspec.Struct, gc=False):
    """Something that arrived on a subscription or an inbox."""

    subject: str
    payload: bytes = b""
    reply: str = ""
    status: Status = Status.MESSAGE
    headers: Mapping[str, str] | None = None

    @property
    def arrived(self) -> bool:
        """Whether this is a message, not the news that none will come."""
        return self.status is Status.MESSAGE


Handler = Callable[[Delivery], None]
Headers = Mapping[str, str]


class Switchboard(Protocol):
    """The connection as an inbox sees it."""

    def post(
        self, subject: str, payload: bytes, reply: str = "", headers: Headers | None = None
    ) -> None:
        """Send a message."""

    def open_inbox(self, handler: Handler) -> "Inbox":
        """Return a new private inbox."""

    def drop_inbox(self, token: str) -> None:
        """Let replies to an inbox land nowhere."""


class Inbox:
    """A private reply subject for one request; a context manager that closes it."""

    __slots__ = ("_bus", "asked", "handler", "subject", "token")

    def __init__(self, bus: Switchboard, token: str, subject: str, handler: Handler) -> None:
        self.token, self.subject, self.handler = token, subject, handler
        self._bus = bus
        self.asked = ""
        """Where the last request went: the broker denies it by this name."""

    def ask(self, subject: str, payload: bytes, headers: Headers | None = None) -> None:
        """Send a request whose replies come to this inbox (raises as ``Bus.post``)."""
        self.asked = subject
        self._bus.post(subject, payload, self.subject, headers)

    def close(self) -> None:
        """Let later replies land nowhere."""
        self._bus.drop_inbox(self.token)
        self.handler = _nobody  # Whoever owns the handler owns this, too: no cycle is left.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _nobody(_: Delivery) -> None:
    """Hear nothing."""


def raise_for_status(delivery: Delivery, subject: str) -> None:
    """Turn a delivery that is no message into the matching ``BusError``."""
    match delivery.status:
        case Status.NO_RESPONDERS:
            raise NoResponders(f"nobody listens on {subject}")
        case Status.DENIED:
            raise PermissionDenied(f"these credentials may not use {subject}")
        case Status.DISCONNECTED:
            raise BusUnavailable("the connection to the broker was lost")
