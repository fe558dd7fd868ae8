"""The base of every message, and the one way to turn messages into bytes and back.

Everything on the bus is JSON, so that any language with a NATS client can take part.
Unknown fields are ignored and defaults are left out, so that either side may be newer.
"""

from typing import TypeVar

import msgspec

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoders raise for bytes that are no such message: msgspec leaves two kinds to Python."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen, keyword-only record; a new field needs a default."""


_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """Return the JSON bytes of a message."""
    return _encoder.encode(message)


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return a reusable decoder for one message type (raises ``UNREADABLE``)."""
    return msgspec.json.Decoder(kind)
