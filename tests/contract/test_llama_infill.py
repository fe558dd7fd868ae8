"""A model that was trained to fill gaps fills the one before a suffix; others say why not."""

from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ContextLengthExceeded, Unsupported
from schemas.inference import Ability, Dispatch, Task
from tests.contract.engine_contract import dispatch, generate
from tests.support.llama import llama_settings, running_llama
from tests.support.tiny_model import FIM, STOP, TinyShape, mark_token, write_tiny_model
from workers.llama.engine import LlamaEngine

BEFORE, AFTER = "def f(x):", "return y"
PREFIX, SUFFIX, MIDDLE = (mark_token(number) for number in range(len(FIM)))


def gap(**changes: Any) -> Dispatch:
    """Return an attempt at filling a gap."""
    return dispatch("filler", **{"messages": (), "prompt": BEFORE, "suffix": AFTER} | changes)


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose vocabulary has the tokens around a gap."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "filler.gguf", marks=FIM)


async def test_the_gap_is_laid_out_as_the_model_was_trained(filler: Path) -> None:
    """Prompt and suffix stand between the model's own tokens, whether given as text or tokens."""
    laid_out = (PREFIX, *BEFORE.encode(), SUFFIX, *AFTER.encode(), MIDDLE)
    async with running_llama(filler) as engine:
        expected = await generate(engine, dispatch("filler", messages=(), prompt=laid_out))
        for prompt in (BEFORE, tuple(BEFORE.encode())):
            filled = await generate(engine, gap(prompt=prompt))
            assert filled.text == expected.text
            assert filled.done.usage.prompt_tokens == len(laid_out)


async def test_text_around_a_gap_names_no_control_token(filler: Path) -> None:
    """Source code that spells a control token is read letter by letter."""
    async with running_llama(filler) as engine:
        counted = await generate(engine, gap(prompt=STOP, suffix=FIM[2], task=Task.COUNT))
    assert counted.done.usage.prompt_tokens == len(STOP) + len(FIM[2]) + len(FIM)


async def test_a_gap_at_the_start_is_filled_and_resumed(filler: Path) -> None:
    """There may be nothing before a gap, and a filling is gone on with after its first tokens."""
    async with running_llama(filler) as engine:
        whole = await generate(engine, gap(prompt=""))
        rest = await generate(engine, gap(prompt="", emitted=whole.ids[:3]))
    assert rest.ids == whole.ids[3:]


@pytest.mark.parametrize("field", ["prompt", "suffix"])
async def test_what_is_too_long_around_a_gap_is_named(filler: Path, field: str) -> None:
    """The error says which of the two has no room."""
    async with running_llama(filler) as engine:
        with pytest.raises(ContextLengthExceeded) as caught:
            await generate(engine, gap(**{field: "word " * 20 * TinyShape().context}))
    assert caught.value.param == field


async def test_only_a_model_with_the_tokens_says_that_it_fills_gaps(
    filler: Path, tiny_model: Path
) -> None:
    """One that has none refuses with the field and the reason, and says so in its adverts."""
    async with running_llama(filler) as engine:
        assert Ability.SUFFIX in engine.status().abilities
    async with running_llama(tiny_model) as engine:
        assert Ability.SUFFIX not in engine.status().abilities
        with pytest.raises(Unsupported, match="no tokens for filling in the middle") as caught:
            await generate(engine, gap())
    assert caught.value.param == "suffix"


async def test_a_model_that_was_never_loaded_may_fill_gaps(tiny_model: Path) -> None:
    """Only llama.cpp can tell, so that the first who asks has it loaded."""
    assert Ability.SUFFIX in LlamaEngine(llama_settings(tiny_model)).status().abilities
