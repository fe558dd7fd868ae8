"""The gateway that is tested: real parts, with models small enough for any machine.

The demo model talks, calls tools and stops, which random weights do not; embeddings, ranks and what
fills gaps come from tiny models with random weights. Suites ask for OpenAI's model names, which are
aliases here.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import gguf

from gateway.aliases import Aliases
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.subjects import JobSide
from schemas.fleet import ModelState
from tests.conformance.stock import stocked, stocked_chats
from tests.support.batches import batch_broker
from tests.support.gateway import gateway_of
from tests.support.jobs import SMALL, runner_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, bus_of, router_of
from tests.support.tiny_embedder import write_tiny_embedder
from tests.support.tiny_model import FIM, write_tiny_model
from tests.support.wait import until
from workers.llama.engine import LlamaEngine

SPARK: Final = Path(__file__).parents[2] / "models" / "spark" / "spark.gguf"
CONTEXT: Final = 512
"""Tokens: a model made to speak JSON without having been asked to goes on to the end of it."""
ALIASES: Final = (
    "*=spark",
    "gpt-3.5-turbo-instruct=filler",
    "text-embedding-3-small=embedder",
    "text-embedding-ada-002=embedder",
)


@asynccontextmanager
async def target(folder: Path) -> AsyncIterator[str]:
    """Serve until the context ends; yields the base URL, ``http://…/v1``."""
    engines = [LlamaEngine(llama_settings(file, context=CONTEXT)) for file in _models(folder)]
    names = [engine.status().name for engine in engines]
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(folder / "broker"))
        await stack.enter_async_context(agent_of(broker, *engines))
        router, fleet = await stack.enter_async_context(router_of(broker, *names))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, SMALL, *names))
        bus = await stack.enter_async_context(bus_of(broker, Role.GATEWAY))
        await until(lambda: all(m.state is ModelState.READY for m in fleet.models()), within=60)
        settings = GatewaySettings(aliases=Aliases.parse(ALIASES), drain_timeout=2)
        served = gateway_of(router, fleet, settings, stocked(), stocked_chats(), bus=bus)
        address = await stack.enter_async_context(served)
        yield address.url


def _models(folder: Path) -> list[Path]:
    embedder = write_tiny_embedder(folder / "embedder.gguf")
    ranker = write_tiny_embedder(folder / "ranker.gguf", gguf.PoolingType.RANK)
    filler = write_tiny_model(folder / "filler.gguf", marks=FIM)
    return [SPARK, embedder, ranker, filler]
