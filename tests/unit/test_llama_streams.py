"""Which sequence has which stream, and what the others still hold."""

import pytest

from workers.llama.streams import Remains, Streams

ANN, BOB = "ann", "bob"


class Cells:
    """What every stream holds, by the orders that llama.cpp would get."""

    def __init__(self) -> None:
        self.trimmed: list[tuple[int, int]] = []
        self.forgotten: list[int] = []
        self.can_cut = True

    def trim(self, slot: int, length: int) -> bool:
        self.trimmed.append((slot, length))
        return self.can_cut

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)


@pytest.fixture
def cells() -> Cells:
    return Cells()


@pytest.fixture
def streams(cells: Cells) -> Streams:
    return Streams(cells, 4)


def newcomer(streams: Streams, *tokens: int, domain: str = ANN) -> tuple[int, int]:
    return streams.take(Remains(domain, [*tokens]), whole=False)


def test_a_conversation_goes_on_in_its_stream(streams: Streams, cells: Cells) -> None:
    """What was left is cut to what both have in common, and nothing is copied."""
    slot, _ = newcomer(streams)
    streams.give_back(slot, Remains(ANN, [1, 2, 3, 4]))
    assert newcomer(streams, 1, 2, 3) == (slot, 3)
    assert cells.trimmed == [(slot, 3)]
    assert not cells.forgotten


@pytest.mark.parametrize("wanted", [Remains(BOB, [1, 2]), Remains(ANN, [1, 9])])
def test_nobody_goes_on_from_anything_else(streams: Streams, wanted: Remains) -> None:
    """Neither another tenant nor another text gets what a stream still holds."""
    slot, _ = newcomer(streams)
    streams.give_back(slot, Remains(ANN, [1, 2, 3]))
    other, held = streams.take(wanted, whole=False)
    assert (other, held) != (slot, 2)
    assert held == 0


def test_what_cannot_be_cut_is_used_whole_or_not_at_all(streams: Streams, cells: Cells) -> None:
    """A state stands for all of its tokens."""
    cells.can_cut = False
    slot, _ = newcomer(streams)
    streams.give_back(slot, Remains(ANN, [1, 2, 3]))
    assert streams.take(Remains(ANN, [1, 2]), whole=True)[1] == 0
    assert streams.take(Remains(ANN, [1, 2, 3]), whole=True) == (slot, 3)


def test_a_stream_that_cannot_be_cut_after_all_is_emptied(streams: Streams, cells: Cells) -> None:
    """Then all of it is copied, as into any other."""
    cells.can_cut = False
    slot, _ = newcomer(streams)
    streams.give_back(slot, Remains(ANN, [1, 2, 3]))
    assert newcomer(streams, 1, 2) == (slot, 0)
    assert cells.forgotten == [slot]


def test_what_was_left_first_goes_first(streams: Streams, cells: Cells) -> None:
    """Strangers get empty streams; when there are none left, the one that was left longest ago."""
    left = [newcomer(streams)[0] for _ in range(4)]
    for slot in (2, 0, 1, 3):
        streams.give_back(left[slot], Remains(ANN, [slot]))
    assert newcomer(streams, 7)[0] == 2
    assert cells.forgotten == [2]


def test_neighbours_come_before_what_is_left(streams: Streams) -> None:
    """A conversation whose stream would leave a gap beside running ones is copied instead."""
    slots = [newcomer(streams)[0] for _ in range(4)]
    assert slots == [0, 1, 2, 3]
    for slot in (1, 2, 3):
        streams.give_back(slot, Remains(ANN, [slot]))
    assert newcomer(streams, 3) == (1, 0)
    assert newcomer(streams, 2) == (2, 1)


def test_one_that_is_given_back_without_remains_is_empty(streams: Streams, cells: Cells) -> None:
    """Nobody can go on from it."""
    slot, _ = newcomer(streams)
    streams.give_back(slot)
    assert cells.forgotten == [slot]
    assert newcomer(streams, 1) == (slot, 0)


def test_only_free_neighbours_are_computed_along(cells: Cells) -> None:
    """They follow the running ones or come before them, all that are missing or none."""
    streams = Streams(cells, 8)
    slots = [newcomer(streams)[0] for _ in range(5)]
    for slot in slots[1:4]:
        streams.give_back(slot, Remains(ANN, [slot]))
    assert streams.idle_beside([0, 4], 1) == []
    streams.give_back(0)
    assert streams.idle_beside([4], 3) == [5, 6, 7]
    assert not cells.forgotten[1:]
    assert streams.idle_beside([4], 4) == [0, 1, 2, 3]
    assert sorted(cells.forgotten) == [0, 1, 2, 3]


def test_a_moved_sequence_leaves_nothing(streams: Streams) -> None:
    """Its old stream is free and empty."""
    slots = [newcomer(streams)[0] for _ in range(3)]
    streams.give_back(slots[1])
    assert streams.gap(0) == 1
    streams.exchange(2, 1)
    assert streams.num_free == 2
    assert streams.gap(1) == 2
