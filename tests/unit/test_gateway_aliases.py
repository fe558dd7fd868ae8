"""Model aliases."""

import pytest
from msgspec import UNSET

from gateway.aliases import Aliases
from mesh.errors import InvalidRequest


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


def test_the_default_stands_for_a_model_that_is_not_named() -> None:
    """It may be an alias; a name that is there is left alone."""
    aliases = Aliases.parse(["small=spark"], default="small")

    assert aliases.named(UNSET) == "small"
    assert aliases.resolve(aliases.named(UNSET), exists) == "spark"
    assert aliases.named("llama") == "llama"


def test_without_a_default_a_model_has_to_be_named() -> None:
    """The field is missing, and that is what is said."""
    with pytest.raises(InvalidRequest) as caught:
        Aliases.parse(["*=spark"]).named(UNSET)
    assert caught.value.param == "model"


@pytest.mark.parametrize("pair", ["", "a", "=b", "a="])
def test_malformed_pairs_are_refused(pair: str) -> None:
    """Half an alias is a mistake."""
    with pytest.raises(ValueError, match="NAME=MODEL"):
        Aliases.parse([pair])
