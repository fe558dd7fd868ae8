"""Which conversations a llama worker says that it holds."""

import os
import signal
from pathlib import Path
from typing import Any

from mesh.prefix import prefixes
from schemas.fleet import ModelState
from schemas.inference import ChatMessage, Dispatch, InferRequest, Sampling
from tests.contract.engine_contract import generate
from tests.support.llama import running_llama
from tests.support.tiny_model import write_tiny_model
from tests.support.wait import until

TURNS = (
    ChatMessage(role="system", content="You are a terse assistant who answers in one word. " * 3),
    ChatMessage(role="user", content="Name a colour of the rainbow, and only one of them. " * 3),
)


def work(**changes: Any) -> Dispatch:
    settings: dict[str, Any] = {
        "model": "tiny",
        "messages": TURNS,
        "max_tokens": 4,
        "sampling": Sampling(temperature=0),
    }
    request = InferRequest(**settings | changes)
    return Dispatch(attempt="a", router="r", remaining_ms=20_000, request=request)


def fingerprints(dispatch: Dispatch) -> tuple[str, ...]:
    """Return what a router looks for, the longest prefix first."""
    return tuple(link.fingerprint for link in reversed(prefixes(dispatch.request)))


async def test_an_answered_conversation_is_warm(tmp_path: Path) -> None:
    """Its prefixes are advertised by the fingerprints that routers compute themselves."""
    model = write_tiny_model(tmp_path / "tiny.gguf")
    async with running_llama(model) as engine:
        assert engine.status().warm == ()
        await generate(engine, work())
        assert engine.status().warm == fingerprints(work())


async def test_a_conversation_that_is_not_to_be_kept_is_not_advertised(tmp_path: Path) -> None:
    """Whoever asks not to be cached is not."""
    model = write_tiny_model(tmp_path / "tiny.gguf")
    async with running_llama(model) as engine:
        await generate(engine, work(cache_prompt=False))
        assert engine.status().warm == ()


async def test_a_new_engine_process_is_cold(tmp_path: Path) -> None:
    """What an engine held is gone with it."""
    model = write_tiny_model(tmp_path / "tiny.gguf")
    async with running_llama(model) as engine:
        await generate(engine, work())
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.status().state is not ModelState.READY)
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        assert engine.status().warm == ()
