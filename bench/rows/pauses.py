"""What running streams notice when a long prompt arrives."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import anyio
import uvloop

from bench import words
from bench.engines import Output, compute, request, running_engine
from bench.figures import Figure, Goal, Row
from bench.targets import Workshop
from bench.weights import benchmark_model
from schemas.wire import Message
from workers.llama.engine import LlamaEngine
from workers.llama.grain import TILE

STREAMS = 4
PROMPT = 2000
"""Words of the long prompt, each a token."""
END = 2 * TILE
"""Tokens at its end, where each looks back on all others and a chunk takes longest."""
BEFORE = 24
"""Tokens each stream gets before the prompt comes."""
LONG_ENOUGH = 200
"""Tokens of a stream, more than it gets while the prompt is computed."""


class Pause(Message, frozen=True, kw_only=True):
    """One arrival of a long prompt; seconds.

    usual: between two tokens of a stream before, on average, for they come in twos and threes.
    longest: of any stream, while the prompt was computed.
    steps: tokens that a stream got meanwhile. chunk: what the last step's part of the prompt takes
    without any stream. first_token: of the long prompt.
    """

    usual: float
    longest: float
    steps: int
    chunk: float
    first_token: float

    @property
    def allowed(self) -> float:
        """The longest pause that the goal allows."""
        return 2 * self.usual + self.chunk


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure pauses at the engine's pipe; ``seconds`` plays no part."""
    pauses = uvloop.run(_rounds(shop, rounds))
    worst = sorted(pauses, key=lambda pause: pause.longest / pause.allowed)[len(pauses) // 2]
    figure = Figure(
        name=f"longest pause of {STREAMS} streams while {PROMPT} tokens arrive",
        unit="ms",
        value=1000 * worst.longest,
        goal=Goal(
            text=f"≤ {1000 * worst.allowed:.0f} ms (2 gaps + a chunk)",
            at_most=1000 * worst.allowed,
        ),
        note=f"usual gap {1000 * worst.usual:.1f} ms, a chunk of {TILE} tokens alone "
        f"{1000 * worst.chunk:.1f} ms; the prompt's own first token after "
        f"{worst.first_token:.2f} s",
    )
    return Row(figures=(figure,), details=pauses)


async def _rounds(shop: Workshop, rounds: int) -> list[Pause]:
    model = benchmark_model(shop.cache / "models")
    async with running_engine(model, slots=STREAMS + 1, context=4096) as engine:
        each = await _token_at_the_end(engine)
        pauses = []
        for number in range(rounds):
            shop.say(f"round {number + 1}")
            pauses.append(await _pause(engine, number, each))
        return pauses


async def _token_at_the_end(engine: LlamaEngine) -> float:
    """Return the seconds that each of the last tokens takes when all before are there already."""
    rows, seen = END, list[float]()
    for seed in range(6):
        # The first time shows how many tokens the template has after the text.
        known = words.prompt(PROMPT - END + (rows - END), 50 + seed)
        await compute(engine, request(known, 2, cached=True))
        end = await compute(engine, request(words.prompt(PROMPT, 50 + seed), 2, cached=True))
        new = end.usage.prompt_tokens - end.usage.cached_tokens
        if seed:
            seen.append(end.first_token / new)
        else:
            rows = new
    return median(seen)


async def _pause(engine: LlamaEngine, number: int, prompt_token: float) -> Pause:
    """``prompt_token``: seconds a token of the prompt's end takes when nothing else runs."""
    streams: list[Output] = []
    running = anyio.Event()

    def watch(tokens: int) -> None:
        if tokens == BEFORE:
            running.set()

    async def stream(seed: int) -> None:
        wanted = request(words.prompt(100, seed), LONG_ENOUGH, stream=True)
        streams.append(await compute(engine, wanted, f"stream-{seed}", watch))

    async with anyio.create_task_group() as tasks:
        for each in range(STREAMS):
            tasks.start_soon(stream, 10 * number + each)
        await running.wait()
        long = await compute(engine, request(words.prompt(PROMPT, 90 + number), 2), "long")
    return _judged(streams, long, prompt_token)


def _judged(streams: Sequence[Output], long: Output, prompt_token: float) -> Pause:
    """Return what the streams saw until the long prompt's first token."""
    until = long.arrivals[0]
    gaps = [pair for stream in streams for pair in pairwise(stream.arrivals)]
    before = [_gap([at for at in stream.arrivals if at < long.asked]) for stream in streams]
    during = [end - start for start, end in gaps if start < until and end > long.asked]
    steps = max(1, len(during) // len(streams))
    return Pause(
        usual=median(before),
        longest=max(during),
        steps=steps,
        chunk=prompt_token * TILE,
        first_token=long.first_token,
    )


def _gap(arrivals: Sequence[float]) -> float:
    """Return the seconds between tokens on average, but for the first ones, while others begin."""
    steady = arrivals[len(arrivals) // 4 :]
    return (steady[-1] - steady[0]) / (len(steady) - 1)
