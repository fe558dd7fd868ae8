"""Where the model's tokens stand around a gap."""

import pytest

from workers.llama.infill import Infill

BOS, PREFIX, SUFFIX, MIDDLE = range(4)
BEFORE, AFTER = [10, 11], [20]


@pytest.mark.parametrize("before", [BEFORE, [BOS, *BEFORE]])
def test_the_bos_comes_first_and_once(before: list[int]) -> None:
    """Texts of the model begin with it, and tokens that were given may have it already."""
    layout = Infill(prefix=PREFIX, suffix=SUFFIX, middle=MIDDLE, bos=BOS)
    expected = [BOS, PREFIX, *BEFORE, SUFFIX, *AFTER, MIDDLE]
    assert layout.arrange(before, AFTER) == expected


@pytest.mark.parametrize("before", [BEFORE, []])
def test_a_model_without_bos_begins_with_the_prefix(before: list[int]) -> None:
    """What comes before the gap stands as it is, also if that is nothing."""
    layout = Infill(prefix=PREFIX, suffix=SUFFIX, middle=MIDDLE)
    assert layout.arrange(before, AFTER) == [PREFIX, *before, SUFFIX, *AFTER, MIDDLE]
