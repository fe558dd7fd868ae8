"""Embedding vectors as they travel, little-endian float32, and as numbers."""

from collections.abc import Sequence
from struct import pack as _pack
from struct import unpack as _unpack

FLOAT_BYTES = 4


def unpack(raw: bytes) -> list[float]:
    """Return the numbers in a vector's bytes; raises ``struct.error`` for a broken length."""
    return list(_unpack(f"<{len(raw) // FLOAT_BYTES}f", raw))


def pack(numbers: Sequence[float]) -> bytes:
    """Return a vector's bytes; raises ``OverflowError`` for numbers beyond 32 bits."""
    return _pack(f"<{len(numbers)}f", *numbers)
