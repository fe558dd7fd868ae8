"""The llama engine as the worker's agent drives it: a process of its own behind a pipe."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import anyio

from bench.failures import NotStarted, WrongAnswer
from mesh.errors import MeshError
from schemas.fleet import ModelState
from schemas.inference import ChatMessage, Dispatch, InferRequest, Sampling, Usage
from schemas.wire import Message
from workers.engine import Piece
from workers.llama.engine import LlamaEngine
from workers.llama.settings import LlamaSettings

LOAD_TIME = 60.0
"""Seconds a model may take to load."""
PATIENCE_MS = 120_000


class Output(Message, frozen=True, kw_only=True):
    """What one request got. arrivals: seconds at which text came, on one clock."""

    text: str
    usage: Usage
    asked: float
    arrivals: tuple[float, ...]

    @property
    def ended(self) -> float:
        """When the last text came."""
        return self.arrivals[-1]

    @property
    def first_token(self) -> float:
        """Seconds to the first text."""
        return self.arrivals[0] - self.asked

    @property
    def decoding(self) -> float:
        """Seconds per token after the first."""
        return (self.ended - self.arrivals[0]) / (self.usage.completion_tokens - 1)


@asynccontextmanager
async def running_engine(
    model: Path, *, slots: int, context: int, threads: int = 0
) -> AsyncIterator[LlamaEngine]:
    """Run an engine whose model is loaded; raises ``NotStarted``."""
    settings = LlamaSettings(model=model, slots=slots, context=context, threads=threads)
    engine, settled = LlamaEngine(settings), anyio.Event()

    def changed() -> None:
        status = engine.status()
        # The digest, too: taking it reads the whole file.
        is_ready = status.state is ModelState.READY and status.digest
        if is_ready or status.state is ModelState.FAILED:
            settled.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run, changed)
        with anyio.move_on_after(LOAD_TIME):
            await settled.wait()
        if engine.status().state is not ModelState.READY:
            raise NotStarted(f"the engine: {engine.status().detail}")
        yield engine
        tasks.cancel_scope.cancel()


def request(
    text: str, tokens: int, *, system: str = "", cached: bool = False, stream: bool = False
) -> InferRequest:
    """Return a greedy request of one user's turn; ``cached``: it may use and leave a prefix."""
    turns = [ChatMessage(role="system", content=system)] if system else []
    return InferRequest(
        model="bench",
        messages=(*turns, ChatMessage(role="user", content=text)),
        max_tokens=tokens,
        sampling=Sampling(temperature=0),
        cache_prompt=cached,
        stream=stream,
    )


def _nothing(_tokens: int) -> None:
    """Watch nothing."""


async def compute(
    engine: LlamaEngine,
    wanted: InferRequest,
    name: str = "bench",
    watch: Callable[[int], None] = _nothing,
) -> Output:
    """Compute one request; ``watch`` is told how often text has come.

    Raises ``WrongAnswer`` if the engine fails.
    """
    text: list[str] = []
    arrivals: list[float] = []

    def emit(piece: Piece) -> None:
        text.append(piece.text)
        arrivals.append(perf_counter())
        watch(len(arrivals))

    asked = perf_counter()
    work = Dispatch(attempt=name, router="bench", remaining_ms=PATIENCE_MS, request=wanted)
    try:
        finish = await engine.generate(work, emit)
    except MeshError as error:
        raise WrongAnswer(f"{type(error).__name__}: {error}") from error
    return Output(text="".join(text), usage=finish.usage, asked=asked, arrivals=tuple(arrivals))


async def compute_all(engine: LlamaEngine, wanted: Sequence[InferRequest]) -> list[Output]:
    """Compute requests that come at the same moment."""
    outputs: dict[int, Output] = {}

    async def one(number: int) -> None:
        outputs[number] = await compute(engine, wanted[number], f"bench-{number}")

    async with anyio.create_task_group() as tasks:
        for number in range(len(wanted)):
            tasks.start_soon(one, number)
    return [outputs[number] for number in range(len(wanted))]
