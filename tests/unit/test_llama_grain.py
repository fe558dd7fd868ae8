"""How many rows a step should have."""

from workers.llama.grain import ANY_NUMBER, GROUP, Grain

GRAIN = Grain(GROUP, 100)


def test_rows_are_added_where_that_is_cheaper() -> None:
    """As measured: a group costs less than three rows left over, and in long steps than one."""
    added = {rows: GRAIN.missing(rows) for rows in range(1, 22)}
    assert {rows: count for rows, count in added.items() if count} == {
        3: 1,
        6: 2,
        7: 1,
        10: 2,
        11: 1,
        14: 2,
        15: 1,
        17: 3,
        18: 2,
        19: 1,
        21: 3,
    }


def test_no_sequence_becomes_longer_than_it_may() -> None:
    """Padding is computed, and so needs room in the cache."""
    assert GRAIN.missing(7, 99) == 1
    assert GRAIN.missing(7, 100) == 0


def test_where_the_number_does_not_matter_nothing_is_added() -> None:
    """A GPU computes three rows as it computes four."""
    assert not any(ANY_NUMBER.missing(rows) for rows in range(100))
    assert [ANY_NUMBER.piece(100, room) for room in (1, 7)] == [1, 7]


def test_a_prompts_odd_rows_are_computed_first() -> None:
    """What is left after a piece is whole tiles; a piece is never empty."""
    assert GRAIN.piece(2016, 64) == 32
    assert GRAIN.piece(2048, 64) == 64
    assert GRAIN.piece(2048, 250) == 192
    assert GRAIN.piece(2017, 250) == 225
    assert [GRAIN.piece(70, room) for room in (3, 5, 8, 69)] == [4, 4, 6, 6]
