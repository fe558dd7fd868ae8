"""Runs llama engines inside a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio.abc import TaskStatus

from mesh.background import background
from schemas.fleet import ModelState
from tests.support.wait import until
from workers.llama.engine import LlamaEngine
from workers.llama.settings import LlamaSettings


def llama_settings(model: Path, **changes: Any) -> LlamaSettings:
    """Return settings that are kind to a small machine."""
    settings: dict[str, Any] = {
        "model": model,
        "slots": 2,
        "threads": 1,
        "restart_delay": 0.01,
        "nice": 0,
    }
    return LlamaSettings(**settings | changes)


@asynccontextmanager
async def started_llama(model: Path, **changes: Any) -> AsyncIterator[LlamaEngine]:
    """Run an engine, whether or not its model can be loaded."""
    engine = LlamaEngine(llama_settings(model, **changes))

    async def run(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await engine.run(lambda: None)

    async with background(run):
        yield engine


@asynccontextmanager
async def running_llama(model: Path, **changes: Any) -> AsyncIterator[LlamaEngine]:
    """Run an engine that is ready."""
    async with started_llama(model, **changes) as engine:
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        yield engine


async def wait_until_failed(engine: LlamaEngine) -> str:
    """Return the reason once the engine says that it failed."""
    await until(lambda: engine.status().state is ModelState.FAILED, within=30)
    return engine.status().detail
