"""Events of a response as bytes: one server-sent event each, with its name on a line of its own."""

from typing import Final

import msgspec

from schemas.openai.response_events import (
    Cancelled,
    Completed,
    Event,
    FailedEvent,
    Incomplete,
)

_encode = msgspec.json.Encoder().encode


def to_bytes(event: Event) -> bytes:
    """Return one event."""
    return b"event: %b\ndata: %b\n\n" % (_name(event), _encode(event))


def is_last(event: bytes) -> bool:
    """Tell whether an event ends its stream."""
    return event.startswith(_LAST)


def _name(event: Event | type[Event]) -> bytes:
    return str(event.__struct_config__.tag).encode()


_LAST: Final = tuple(
    b"event: %b\n" % _name(kind) for kind in (Completed, Incomplete, Cancelled, FailedEvent)
)
