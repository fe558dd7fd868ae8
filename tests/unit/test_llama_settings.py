"""Settings are checked once, when they are made."""

from pathlib import Path

import pytest

from workers.llama.rates import Rate
from workers.llama.settings import LlamaSettings


def test_the_model_is_named_after_its_file() -> None:
    """Without a name the file's stem is used."""
    assert LlamaSettings(model=Path("a/spark.gguf")).model_name == "spark"
    assert LlamaSettings(model=Path("a/spark.gguf"), name="x").model_name == "x"


@pytest.mark.parametrize("wrong", [{"slots": -1}, {"context": -1}, {"threads": -1}, {"chunk": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LlamaSettings(model=Path("m.gguf"), **wrong)  # type: ignore[arg-type]


def test_rates_weigh_by_time_and_forget() -> None:
    """Short measurements hardly move the average; old ones fade."""
    rate = Rate()
    assert rate.value == 0
    rate.add(1000, 1.0)
    rate.add(1, 0.05)
    assert rate.value == pytest.approx(1000, rel=0.06)
    for _ in range(60):
        rate.add(500, 1.0)
    assert rate.value == pytest.approx(500, rel=0.01)
