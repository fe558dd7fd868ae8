"""A sequence's rows are found in what llama.cpp writes, and written as it reads them."""

import struct

import numpy as np
import pytest

from workers.llama.kv_rows import Bytes, KvRows

STREAMS = 3
PLANES = (4, 6)
"""Bytes of a row of keys and of values, in a network of one layer."""


def written(positions: list[int], stream: int = 1, transposed: int = 0) -> Bytes:
    """Return a sequence as llama.cpp writes it; a row's bytes are its position."""
    count = len(positions)
    data = struct.pack("<IiI", 0xABC, 1, STREAMS)
    for number in range(STREAMS):
        data += struct.pack("<I", count if number == stream else 0)
        if number != stream:
            continue
        data += b"".join(struct.pack("<iIi", position, 1, 0) for position in positions)
        data += struct.pack("<II", transposed, 1)
        for width in PLANES:
            data += struct.pack("<iQ", 1, width)
            data += b"".join(bytes([position]) * width for position in positions)
    return np.frombuffer(data, np.uint8)


def positions(rows: Bytes) -> list[int]:
    assert rows.shape[1] == sum(PLANES)
    assert (rows == rows[:, :1]).all()
    return [int(row[0]) for row in rows]


@pytest.mark.parametrize("stream", range(STREAMS))
def test_rows_come_in_the_order_of_their_positions(stream: int) -> None:
    """Cells are filled in any order; a part of a sequence is its tokens from here to there."""
    for cells in ([0, 1, 2, 3, 4], [3, 4, 0, 2, 1]):
        state = written(cells, stream)
        form = KvRows.of(state, 5)
        assert form is not None
        assert positions(form.rows(state, 0, 5)) == [0, 1, 2, 3, 4]
        assert positions(form.rows(state, 1, 3)) == [1, 2]


def test_parts_make_a_sequence_again() -> None:
    """What is put together is what llama.cpp would have written of the whole."""
    whole = written([0, 1, 2, 3, 4], stream=0)
    form = KvRows.of(whole, 5)
    assert form is not None
    parts = [form.rows(whole, start, stop) for start, stop in ((0, 2), (2, 3), (3, 5))]
    state = np.full(form.size(5), 255, np.uint8)
    form.write(parts, state)
    assert state.tobytes() == whole.tobytes()


def test_other_forms_are_told_apart() -> None:
    """Transposed values, other counts and other sizes are no rows that could be taken apart."""
    state = written([0, 1, 2])
    assert KvRows.of(state, 3) is not None
    assert KvRows.of(state, 2) is None
    assert KvRows.of(written([0, 1, 2], transposed=1), 3) is None
    for size in range(len(state)):
        assert KvRows.of(state[:size], 3) is None
    assert KvRows.of(np.append(state, np.uint8(0)), 3) is None
