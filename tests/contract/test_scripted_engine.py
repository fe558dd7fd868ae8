"""The scripted engine keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from schemas.inference import Dispatch
from tests.contract.engine_contract import EngineContract, dispatch
from workers.engine import Engine
from workers.scripted import ScriptedEngine, ScriptedSettings


class TestScriptedEngine(EngineContract):
    """The contract on numbered tokens."""

    model = "scripted"
    has_template = False

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return _running()

    def endless(self) -> Dispatch:
        return dispatch(self.model, max_tokens=100_000)


@asynccontextmanager
async def _running() -> AsyncIterator[Engine]:
    yield ScriptedEngine(ScriptedSettings(slots=2, tokens=100_000, tps=1000))
