"""The engine beside the limit: whole jobs of one to sixteen requests, without any network."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio
import uvloop

from bench import words
from bench.engines import compute_all, request, running_engine
from bench.failures import BenchError, WrongAnswer
from bench.figures import Figure, Goal, Row
from bench.targets import Workshop
from bench.weights import benchmark_model
from bench.yardsticks import Yardsticks, yardsticks
from workers.llama.engine import LlamaEngine
from workers.llama.machine import usable_cores

PROMPT, ANSWER = 128, 64
"""Tokens of a request, template included, and of its answer."""
BATCHES = (1, 4, 8, 16)
SHARE = 0.95
ONE_CACHE, OWN_CACHES = "batched-bench, one cache", "batched-bench, a cache each"
MESH = "the engine"

Times = dict[int, float]
"""Seconds of the whole job of each batch."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure whole jobs on all cores; ``seconds`` plays no part."""
    tools = yardsticks(shop.cache / "llama.cpp", shop.console)
    times = uvloop.run(_rounds(shop, tools, rounds))
    medians = {
        name: {batch: median(each[batch] for each in kept) for batch in BATCHES}
        for name, kept in times.items()
    }
    figures = tuple(_figure(batch, medians) for batch in BATCHES)
    return Row(figures=figures, details=times)


async def _rounds(shop: Workshop, tools: Yardsticks, rounds: int) -> Mapping[str, list[Times]]:
    model, threads = benchmark_model(shop.cache / "models"), usable_cores()
    limit = [str(tools.batched_bench), "-m", str(model), *("-t", str(threads), "-tb", str(threads))]
    times: dict[str, list[Times]] = defaultdict(list)
    # All start anew for every round: some processes are slower than others while they live.
    runs: list[tuple[str, Callable[[int], Awaitable[Times]]]] = [
        (MESH, lambda number: _jobs(model, threads, number)),
        (ONE_CACHE, lambda _: _limit([*limit, "-kvu"])),
        (OWN_CACHES, lambda _: _limit(limit)),
    ]
    for number in range(rounds):
        first = number % len(runs)
        for name, run in [*runs[first:], *runs[:first]]:
            shop.say(f"{name}, round {number + 1}")
            times[name].append(await run(number))
    return times


async def _words_of(engine: LlamaEngine, tokens: int) -> int:
    """Return how many words make a request of so many tokens, by asking the engine once."""
    [output] = await compute_all(engine, [request(words.prompt(tokens, 0), 2)])
    return 2 * tokens - output.usage.prompt_tokens


async def _jobs(model: Path, threads: int, number: int) -> Times:
    """Return the seconds from the first request of a job to the end of its last answer."""
    async with running_engine(
        model, slots=max(BATCHES), context=2 * (PROMPT + ANSWER), threads=threads
    ) as engine:
        return await _timed(engine, await _words_of(engine, PROMPT), number)


async def _timed(engine: LlamaEngine, length: int, number: int) -> Times:
    times: Times = {}
    for batch in BATCHES:
        seeds = (1 + 100 * number + each for each in range(batch))
        wanted = [request(words.prompt(length, seed), ANSWER) for seed in seeds]
        started = perf_counter()
        outputs = await compute_all(engine, wanted)
        times[batch] = perf_counter() - started
        for output in outputs:
            if output.text != words.said(ANSWER) or output.usage.prompt_tokens != PROMPT:
                raise WrongAnswer(f"{output.usage}: {output.text[:80]!r}…")
    return times


async def _limit(command: list[str]) -> Times:
    """Return the seconds that llama.cpp's own measurement takes for the same jobs."""
    cells = max(BATCHES) * (PROMPT + ANSWER)
    sizes = ("-c", str(cells), "-npp", str(PROMPT), "-ntg", str(ANSWER))
    batches = ("-npl", ",".join(map(str, BATCHES)), "--output-format", "jsonl")
    done = await anyio.run_process(
        [*command, *sizes, *batches], check=False, stderr=subprocess.STDOUT
    )
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("{")]
    times = {int(found["pl"]): float(found["t"]) for found in map(json.loads, lines)}
    if times.keys() != set(BATCHES):
        raise BenchError(f"{Path(command[0]).name}: {done.stdout.decode()[-1000:]}")
    return times


def _figure(batch: int, medians: Mapping[str, Times]) -> Figure:
    tokens = batch * (PROMPT + ANSWER)
    limit = tokens / min(medians[ONE_CACHE][batch], medians[OWN_CACHES][batch])
    took = ", ".join(f"{name} {times[batch]:.3f}" for name, times in medians.items())
    return Figure(
        name=f"whole job, batch {batch} ({PROMPT} tokens in, {ANSWER} out)",
        unit="tokens/s",
        value=tokens / medians[MESH][batch],
        peers={"llama-batched-bench": limit},
        goal=Goal(text=f"≥ {SHARE:g}x", at_least=SHARE * limit),
        note=f"seconds: {took}; the quicker of the two is the limit",
    )
