"""What sequences share is kept once, and comes back as it was."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.llama.bank import Bank, Rows, Span, rows_of
from workers.llama.prefixes import common_prefix

WIDTH = 3
"""Bytes of a row."""


class Model:
    """The same in the plainest way: each sequence is the list of its rows' numbers."""

    def __init__(self) -> None:
        self.sequences: list[tuple[Span, list[int]]] = []
        self.next = 0

    @property
    def used(self) -> int:
        return WIDTH * len({row for _, rows in self.sequences for row in rows})

    def new(self, count: int) -> list[int]:
        self.next += count
        return list(range(self.next - count, self.next))


def rows(numbers: list[int]) -> Rows:
    return np.array(numbers, np.uint8).repeat(WIDTH).reshape(-1, WIDTH)


def content(end: Span, length: int) -> list[int]:
    return [int(row[0]) for part in rows_of(end, length) for row in part]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 12)), max_size=20))
def test_every_sequence_is_what_was_put_in_and_is_counted_once(
    moves: list[tuple[bool, int, int]],
) -> None:
    """Adding, forking and releasing in any order keeps contents and count exact."""
    bank, model = Bank(10_000), Model()
    for adds, which, amount in moves:
        if adds or not model.sequences:
            fresh = model.new(amount)
            if model.sequences and amount % 2:
                end, held = model.sequences[which % len(model.sequences)]
                shared = min(len(held), amount)
                parent = bank.fork(end, shared)
                end = bank.add(parent, len(fresh), rows(fresh))
                model.sequences.append((end, held[:shared] + fresh))
            else:
                model.sequences.append((bank.add(None, len(fresh), rows(fresh)), fresh))
        else:
            bank.release(model.sequences.pop(which % len(model.sequences))[0])
        assert bank.used == model.used
        for end, held in model.sequences:
            assert content(end, len(held)) == held
            assert content(end, len(held) // 2) == held[: len(held) // 2]
    for end, _ in model.sequences:
        bank.release(end)
    assert bank.used == 0


def test_what_was_cut_can_be_given_up_piece_by_piece() -> None:
    """The rest of a sequence does not keep the memory of a beginning alive, nor the other way."""
    bank = Bank(1000)
    end = bank.add(None, 10, rows(list(range(10))))
    shared = bank.fork(end, 4)
    bank.release(end)
    assert bank.used == 4 * WIDTH
    assert shared.rows.base is None
    assert content(shared, 4) == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 1), max_size=200), st.lists(st.integers(0, 1), max_size=200))
def test_a_common_prefix_is_the_longest(left: list[int], right: list[int]) -> None:
    """It is common, and one more token is not."""
    length = common_prefix(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]


def test_long_common_prefixes_are_found() -> None:
    """Lengths around the stride are exact."""
    for length in (63, 64, 65, 128, 1000):
        assert common_prefix([1] * length + [2], [1] * length + [3]) == length
        assert common_prefix([1] * length, [1] * length) == length
