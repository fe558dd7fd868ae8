"""A sequence's keys and values, taken apart by token from what llama.cpp writes of a sequence.

The form is that of ``llama_state_seq_get_data`` for a plain cache whose values are not transposed::

    magic u32, sequence i32, number of streams u32,
    for each stream: number of cells u32, and if there are any:
        for each cell: position i32, number of sequences u32 (1), sequence i32
        values transposed u32 (0), number of layers u32
        for each layer the keys: type i32, bytes of a row u64, a row per cell
        for each layer the values: the same

Other models' memories (sliding windows, recurrent states, two-dimensional positions) are written in
other forms, which are told apart by their sizes and kept whole.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
"""A whole sequence as llama.cpp writes it ``[bytes]``, or rows of it ``[tokens, bytes]``."""

HEAD = 12
"""Bytes before the streams' own."""
COUNT = 4
CELL = 12
"""Bytes that tell a cell's position and sequence."""
SIZES = 8
"""Bytes that tell the transposition and the number of layers."""
PLANE_HEAD = 12
"""Bytes that tell the type and the row size of one layer's keys or values."""


class KvRows(msgspec.Struct, frozen=True):
    """Where the rows of each token are.

    planes: bytes of a token's row, for each layer's keys and each layer's values. heads: the bytes
    that llama.cpp writes before them.
    """

    start: bytes
    sizes: bytes
    planes: tuple[int, ...]
    heads: tuple[bytes, ...]

    @classmethod
    def of(cls, state: Bytes, tokens: int) -> Self | None:
        """Return the form of a sequence of so many tokens, ``None`` if it is another one."""
        streams = _number(state, 8)
        first = HEAD
        while first < HEAD + COUNT * streams and not _number(state, first):
            first += COUNT
        sizes = first + COUNT + CELL * tokens
        if _number(state, first) != tokens or _number(state, sizes) != 0:
            return None
        planes, heads = [], []
        at = sizes + SIZES
        rest = COUNT * (streams - 1) - (first - HEAD)
        for _ in range(2 * _number(state, sizes + 4)):
            if at + PLANE_HEAD > state.size:
                return None
            heads.append(state[at : at + PLANE_HEAD].tobytes())
            planes.append(_number(state, at + 4))
            at += PLANE_HEAD + planes[-1] * tokens
        if at + rest != state.size:
            return None
        return cls(
            start=state[:HEAD].tobytes(),
            sizes=state[sizes : sizes + SIZES].tobytes(),
            planes=tuple(planes),
            heads=tuple(heads),
        )

    def rows(self, state: Bytes, start: int, stop: int) -> Bytes:
        """Return the rows of a part of a sequence, ``[tokens, bytes]``."""
        first = HEAD
        while not (count := _number(state, first)):
            first += COUNT
        cells = state[first + COUNT :][: CELL * count].view(np.int32).reshape(count, 3)
        wanted = np.argsort(cells[:, 0])[start:stop]
        rows = np.empty((stop - start, sum(self.planes)), np.uint8)
        is_run = bool(np.array_equal(wanted, np.arange(start, stop)))
        for plane, columns in self._planes(state, first + COUNT + CELL * count + SIZES, count):
            rows[:, columns] = plane[start:stop] if is_run else plane[wanted]
        return rows

    def size(self, tokens: int) -> int:
        """Return the bytes of a whole sequence of so many tokens."""
        others = COUNT * (self._streams - 1)
        planes = sum(self.planes) * tokens + PLANE_HEAD * len(self.planes)
        return self._data(tokens) + planes + others

    def write(self, parts: Sequence[Bytes], state: Bytes) -> None:
        """Put the rows of a sequence's parts together in ``state``, which has just the size."""
        tokens = sum([len(part) for part in parts])
        data = self._data(tokens)
        _put(state, 0, self.start)
        _put(state, HEAD, tokens.to_bytes(COUNT, "little"))
        cells = state[HEAD + COUNT :][: CELL * tokens].view(np.int32).reshape(tokens, 3)
        cells[:] = 0
        cells[:, 0], cells[:, 1] = np.arange(tokens), 1
        _put(state, data - SIZES, self.sizes)
        ends = list(accumulate([len(part) for part in parts]))
        at = data
        planes = self._planes(state, data, tokens)
        for head, (plane, columns) in zip(self.heads, planes, strict=True):
            _put(state, at, head)
            for part, end in zip(parts, ends, strict=True):
                plane[end - len(part) : end] = part[:, columns]
            at += PLANE_HEAD + plane.size
        state[at:] = 0  # the other streams have no cells

    @property
    def _streams(self) -> int:
        return int.from_bytes(self.start[8:], "little")

    @staticmethod
    def _data(tokens: int) -> int:
        """Return where the planes begin in a sequence that ``write`` puts together."""
        return HEAD + COUNT + CELL * tokens + SIZES

    def _planes(self, state: Bytes, at: int, tokens: int) -> Iterator[tuple[Bytes, slice]]:
        """Yield a view of each plane ``[tokens, bytes]``, and its columns in the rows."""
        column = 0
        for width in self.planes:
            at += PLANE_HEAD
            end = at + width * tokens
            yield state[at:end].reshape(tokens, width), slice(column, column + width)
            at = end
            column += width


def _number(state: Bytes, at: int) -> int:
    """Return a number of four bytes, -1 beyond the end."""
    return int(state[at : at + 4].view(np.uint32)[0]) if at + 4 <= state.size else -1


def _put(state: Bytes, at: int, data: bytes) -> None:
    state[at : at + len(data)] = np.frombuffer(data, np.uint8)
