"""Cells are counted once, however many sequences share them."""

from hypothesis import given
from hypothesis import strategies as st

from workers.llama.cells import Cells, Span
from workers.llama.prefixes import common_prefix


class Model:
    """The same in the plainest way: each sequence is the list of its cells' numbers."""

    def __init__(self) -> None:
        self.sequences: list[tuple[Span, list[int]]] = []
        self.next = 0

    @property
    def used(self) -> int:
        return len({cell for _, cells in self.sequences for cell in cells})

    def new(self, count: int) -> list[int]:
        self.next += count
        return list(range(self.next - count, self.next))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 12))))
def test_the_count_is_that_of_distinct_cells(moves: list[tuple[int, int, int]]) -> None:
    """Opening, growing, forking and releasing in any order keeps the count exact."""
    cells, model = Cells(10_000), Model()
    for move, which, amount in moves:
        if move == 0 or not model.sequences:
            model.sequences.append((Span(), []))
            continue
        end, held = model.sequences[which % len(model.sequences)]
        if move == 1:
            cells.grow(end, amount)
            held += model.new(amount)
        elif move == 2:
            dropped = min(amount, len(held))
            fork = cells.fork(end, dropped)
            model.sequences.append((fork, held[: len(held) - dropped]))
        else:
            cells.release(end)
            model.sequences.pop(which % len(model.sequences))
        assert cells.used == model.used
    for end, _ in model.sequences:
        cells.release(end)
    assert cells.used == 0


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


def test_what_sequences_share_is_held_once() -> None:
    """Two that go on from one beginning hold that together; a third holds its own."""
    cells = Cells(100)
    first, other = Span(), Span()
    cells.grow(first, 10)
    second = cells.fork(first, 4)
    cells.grow(second, 5)
    cells.grow(other, 7)
    assert cells.held_by([first]) == 10
    assert cells.held_by([first, second]) == 15
    assert cells.held_by([first, second, other]) == 22
    assert cells.held_by([]) == 0
