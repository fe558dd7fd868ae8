"""Events of a response as bytes: one server-sent event each, with its name on a line of its own."""

import msgspec

from schemas.openai.response_events import Event

_encode = msgspec.json.Encoder().encode


def to_bytes(event: Event) -> bytes:
    """Return one event."""
    return b"event: %b\ndata: %b\n\n" % (_name(event), _encode(event))


def _name(event: Event) -> bytes:
    return str(type(event).__struct_config__.tag).encode()
