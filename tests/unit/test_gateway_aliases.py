"""Model aliases."""

import pytest

from gateway.aliases import Aliases


def exists(name: str) -> bool:
    return name in {"spark", "llama"}


def test_a_named_alias_comes_first() -> None:
    """An alias wins even over a model of its name."""
    aliases = Aliases.parse(["gpt-4o-mini=spark", "llama=spark"])

    assert aliases.resolve("gpt-4o-mini", exists) == "spark"
    assert aliases.resolve("llama", exists) == "spark"
    assert aliases.resolve("unknown", exists) == "unknown"


def test_the_catch_all_comes_last() -> None:
    """``*`` catches what is neither an alias nor a model."""
    aliases = Aliases.parse(["*=spark", "a=llama"])

    assert aliases.resolve("a", exists) == "llama"
    assert aliases.resolve("llama", exists) == "llama"
    assert aliases.resolve("unknown", exists) == "spark"


def test_names_leave_the_catch_all_out() -> None:
    """Only names that somebody could ask for are listed."""
    assert Aliases.parse(["*=spark", "b=x", "a=y"]).names() == ["a", "b"]


def test_a_target_may_contain_an_equals_sign() -> None:
    """The first equals sign separates."""
    assert Aliases.parse([" a = b=c "]).targets == {"a": "b=c"}


@pytest.mark.parametrize("pair", ["", "a", "=b", "a="])
def test_malformed_pairs_are_refused(pair: str) -> None:
    """Half an alias is a mistake."""
    with pytest.raises(ValueError, match="NAME=MODEL"):
        Aliases.parse([pair])
