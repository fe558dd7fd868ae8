"""Filling in the middle, as OpenAI's own client asks for it over HTTP."""

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
from tests.support.tiny_model import FIM, mark_token, write_tiny_model
from tests.support.wait import until
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedEngine

BEFORE, AFTER = "def f(x):", "return y"
GAP: Any = {"model": "filler", "prompt": BEFORE, "suffix": AFTER, "max_tokens": 8, "temperature": 0}


@asynccontextmanager
async def client_in(folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client of a mesh with a model that fills gaps and one that does not."""
    filler = write_tiny_model(folder / "filler.gguf", marks=FIM)
    engines = LlamaEngine(llama_settings(filler)), ScriptedEngine()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder / "broker"))
        await stack.enter_async_context(agent_of(broker, *engines))
        router, fleet = await stack.enter_async_context(router_of(broker, "filler", "scripted"))
        await until(lambda: all(m.state is ModelState.READY for m in fleet.models()), within=30)
        address = await stack.enter_async_context(gateway_of(router, fleet))
        client = openai.AsyncOpenAI(base_url=address.url, api_key="any", max_retries=0)
        yield await stack.enter_async_context(client)


async def test_a_gap_is_filled(tmp_path: Path) -> None:
    """The model goes on from both sides, echoed, streamed, and for several prompts of tokens."""
    prefix, suffix, middle = (mark_token(number) for number in range(len(FIM)))
    raw = [prefix, *BEFORE.encode(), suffix, *AFTER.encode(), middle]
    async with client_in(tmp_path) as client:
        create = client.completions.create
        expected = await create(**GAP | {"prompt": raw, "suffix": None})
        filled = await create(**GAP)
        echoed = await create(**GAP, echo=True)
        several = await create(**GAP | {"prompt": [list(BEFORE.encode()), list(b"else")]})
        stream = await create(**GAP, echo=True, stream=True)
        pieces = [chunk.choices[0].text async for chunk in stream]

    text = expected.choices[0].text
    assert filled.choices[0].text == text
    assert filled.usage is not None
    assert filled.usage.prompt_tokens == len(raw)
    assert echoed.choices[0].text == "".join(pieces) == BEFORE + text
    assert [choice.index for choice in several.choices] == [0, 1]
    assert several.choices[0].text == text
    assert several.choices[1].text != text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_fills_no_gaps_says_so(tmp_path: Path, stream: bool) -> None:
    """The refusal names the field and the reason, before anything is computed."""
    async with client_in(tmp_path) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.completions.create(**GAP | {"model": "scripted", "stream": stream})
    assert caught.value.param == "suffix"
    assert "filling in the middle" in caught.value.message
