"""How likely a prompt is, as OpenAI's own client asks for it: ``echo`` with ``logprobs``."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from schemas.fleet import ModelState
from tests.support.gateway import gateway_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.responses import client_at
from tests.support.tiny_model import write_tiny_model
from tests.support.wait import until
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedEngine

PROMPT = "a prompt of more than sixteen tokens"
ASKED: Any = {"model": "tiny", "prompt": PROMPT, "echo": True, "logprobs": 2, "temperature": 0}


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@asynccontextmanager
async def client_in(folder: Path, model: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client of a mesh with a model whose tokens are bytes, and the scripted one."""
    engines = LlamaEngine(llama_settings(model)), ScriptedEngine()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder / "broker"))
        await stack.enter_async_context(agent_of(broker, *engines))
        router, fleet = await stack.enter_async_context(router_of(broker, "tiny", "scripted"))
        await until(lambda: all(m.state is ModelState.READY for m in fleet.models()), within=30)
        address = await stack.enter_async_context(gateway_of(router, fleet))
        yield await stack.enter_async_context(client_at(address))


def told_of(choices: list[Any]) -> tuple[list[str], list[float | None], list[int]]:
    """Return tokens, log-probabilities and offsets of a choice, or of its pieces."""
    told = [choice.logprobs for choice in choices if choice.logprobs]
    return (
        [token for each in told for token in each.tokens],
        [value for each in told for value in each.token_logprobs],
        [offset for each in told for offset in each.text_offset],
    )


async def test_a_prompt_is_scored(tmp_path: Path, tiny_model: Path) -> None:
    """Whole and streamed alike: each token of prompt and output in its place, the first without."""
    async with client_in(tmp_path, tiny_model) as client:
        whole = await client.completions.create(**ASKED, max_tokens=4)
        stream = await client.completions.create(**ASKED, max_tokens=4, stream=True)
        chunks = [chunk async for chunk in stream]

    (choice,) = whole.choices
    tokens, values, offsets = told_of([choice])
    assert tokens[: len(PROMPT)] == list(PROMPT)
    assert offsets == list(range(len(tokens)))
    assert values[0] is None
    assert all(value is not None and value < 0 for value in values[1:])
    assert choice.logprobs is not None
    top = choice.logprobs.top_logprobs or []
    assert top[0] is None
    assert [len(each) for each in top[1 : len(PROMPT)]] == [2] * (len(PROMPT) - 1)
    pieces = [chunk.choices[0] for chunk in chunks]
    assert "".join(piece.text for piece in pieces) == choice.text
    assert pieces[0].text == PROMPT
    streamed = told_of(pieces)
    assert (streamed[0], streamed[2]) == (tokens, offsets)
    assert streamed[1][1:] == pytest.approx(values[1:], abs=0.02)


async def test_nothing_need_be_said_after_it(tmp_path: Path, tiny_model: Path) -> None:
    """With ``max_tokens: 0`` prompts are only scored, each of several, and all their choices."""
    async with client_in(tmp_path, tiny_model) as client:
        whole = await client.completions.create(
            **ASKED | {"prompt": [PROMPT, "another"], "n": 2}, max_tokens=0
        )
        stream = await client.completions.create(**ASKED, max_tokens=0, stream=True)
        pieces = [chunk.choices[0] async for chunk in stream]

    assert [choice.text for choice in whole.choices] == [PROMPT, PROMPT, "another", "another"]
    assert [told_of([choice])[0] for choice in whole.choices[1:3]] == [
        list(PROMPT),
        list("another"),
    ]
    assert {choice.finish_reason for choice in whole.choices} == {"length"}
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 0
    assert told_of(pieces)[0] == list(PROMPT)
    assert pieces[-1].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_cannot_says_so(tmp_path: Path, tiny_model: Path, stream: bool) -> None:
    """The refusal names the field; without ``logprobs`` the prompt is repeated all the same."""
    async with client_in(tmp_path, tiny_model) as client:
        asked = ASKED | {"model": "scripted", "max_tokens": 2}
        with pytest.raises(openai.BadRequestError) as caught:
            await client.completions.create(**asked, stream=stream)
        assert caught.value.param == "logprobs"
        plain = await client.completions.create(**asked | {"logprobs": None})
    assert plain.choices[0].text == f"{PROMPT}0 1 "


async def test_a_prompt_that_is_too_long_to_be_told_of_is_refused(
    tmp_path: Path, tiny_model: Path
) -> None:
    """What is too long for the model is named as ever."""
    async with client_in(tmp_path, tiny_model) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.completions.create(**ASKED | {"prompt": "x" * 5000})
    assert caught.value.code == "context_length_exceeded"
