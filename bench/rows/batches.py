"""The engine beside the limit: whole jobs of one to sixteen requests, without any network."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Mapping
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

Times = dict[int, list[float]]
"""Seconds of the whole jobs of each batch."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure whole jobs on all cores; ``seconds`` plays no part."""
    tools = yardsticks(shop.cache / "llama.cpp", shop.console)
    times = uvloop.run(_rounds(shop, tools, rounds))
    return Row(figures=tuple(_figure(batch, times) for batch in BATCHES), details=times)


async def _rounds(shop: Workshop, tools: Yardsticks, rounds: int) -> Mapping[str, Times]:
    model, threads = benchmark_model(shop.cache / "models"), usable_cores()
    limit = [str(tools.batched_bench), "-m", str(model), *("-t", str(threads), "-tb", str(threads))]
    times: dict[str, Times] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        shop.say(f"round {number + 1}")
        # All start anew for every round: some processes are slower than others while they live.
        # And each job is done by all in turn, for the machine's speed drifts by the minute.
        async with running_engine(
            model, slots=max(BATCHES), context=2 * (PROMPT + ANSWER), threads=threads
        ) as engine:
            length = await _words_of(engine, PROMPT)
            for batch in BATCHES:
                times[MESH][batch].append(await _job(engine, length, batch, 1 + 100 * number))
                times[ONE_CACHE][batch].append(await _limit([*limit, "-kvu"], batch))
                times[OWN_CACHES][batch].append(await _limit(limit, batch))
    return times


async def _words_of(engine: LlamaEngine, tokens: int) -> int:
    """Return how many words make a request of so many tokens, by asking the engine once."""
    [output] = await compute_all(engine, [request(words.prompt(tokens, 0), 2)])
    return 2 * tokens - output.usage.prompt_tokens


async def _job(engine: LlamaEngine, length: int, batch: int, seed: int) -> float:
    """Return the seconds from the first request of a job to the end of its last answer."""
    wanted = [request(words.prompt(length, seed + each), ANSWER) for each in range(batch)]
    started = perf_counter()
    outputs = await compute_all(engine, wanted)
    took = perf_counter() - started
    for output in outputs:
        if output.text != words.said(ANSWER) or output.usage.prompt_tokens != PROMPT:
            raise WrongAnswer(f"{output.usage}: {output.text[:80]!r}…")
    return took


async def _limit(command: list[str], batch: int) -> float:
    """Return the seconds that llama.cpp's own measurement takes for the same job."""
    cells = max(BATCHES) * (PROMPT + ANSWER)
    sizes = ("-c", str(cells), "-npp", str(PROMPT), "-ntg", str(ANSWER), "-npl", str(batch))
    done = await anyio.run_process(
        [*command, *sizes, "--output-format", "jsonl"], check=False, stderr=subprocess.STDOUT
    )
    for line in done.stdout.decode().splitlines():
        if line.startswith("{"):
            return float(json.loads(line)["t"])
    raise BenchError(f"{Path(command[0]).name}: {done.stdout.decode()[-1000:]}")


def _figure(batch: int, times: Mapping[str, Times]) -> Figure:
    tokens = batch * (PROMPT + ANSWER)
    medians = {name: median(kept[batch]) for name, kept in times.items()}
    limit = tokens / min(medians[ONE_CACHE], medians[OWN_CACHES])
    took = ", ".join(f"{name} {seconds:.3f}" for name, seconds in medians.items())
    return Figure(
        name=f"whole job, batch {batch} ({PROMPT} tokens in, {ANSWER} out)",
        unit="tokens/s",
        value=tokens / medians[MESH],
        peers={"llama-batched-bench": limit},
        goal=Goal(text=f"≥ {SHARE:g}x", at_least=SHARE * limit),
        note=f"seconds: {took}; the quicker of the two is the limit",
    )
