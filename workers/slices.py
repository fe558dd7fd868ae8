"""Rows of an answer cut into pieces that the bus takes easily."""

from collections.abc import Iterator, Sequence

PIECE_BYTES = 192 << 10
"""Bytes of vectors in one piece of output: as base64 in JSON, a frame of 256 KiB."""


def slices(vectors: Sequence[bytes]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """Yield runs of vectors of equal length, each with the position of its first."""
    if not vectors:
        return
    per_piece = max(1, PIECE_BYTES // max(1, len(vectors[0])))
    for start in range(0, len(vectors), per_piece):
        yield start, tuple(vectors[start : start + per_piece])
