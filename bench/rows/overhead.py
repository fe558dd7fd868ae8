"""What a step of the loop costs beyond llama.cpp's own work."""

from collections.abc import Mapping
from statistics import median

import uvloop

from bench import words
from bench.figures import Figure, Row
from bench.steps import Job, Stepped, stepped
from bench.targets import Workshop
from bench.weights import Shape, benchmark_model

BATCHES = (1, 4, 16)
PROMPT, ANSWER = 64, 64
SMALL = Shape(layers=2)
"""Few layers, the whole vocabulary: the loop's own part is the same and shows better."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure steps of one thread; ``seconds`` plays no part."""
    results = uvloop.run(_batches(shop, rounds))
    return Row(
        figures=tuple(_figure(batch, found) for batch, found in results.items()), details=results
    )


async def _batches(shop: Workshop, rounds: int) -> Mapping[int, tuple[Stepped, ...]]:
    model = str(benchmark_model(shop.cache / "models", SMALL))
    results = {}
    for batch in BATCHES:
        shop.say(f"batch {batch}")
        prompts = tuple(words.prompt(PROMPT, seed) for seed in range(batch))
        job = Job(model=model, prompts=prompts, tokens=ANSWER, threads=1, repeats=rounds)
        results[batch] = await stepped(job)
    return results


def _figure(batch: int, found: tuple[Stepped, ...]) -> Figure:
    parts = {
        "llama_decode": median(each.decoding / each.steps for each in found),
        "its samplers": median(each.sampling / each.steps for each in found),
        "encoding the report": median(each.framing / each.steps for each in found),
    }
    return Figure(
        name=f"a step's Python, batch {batch}",
        unit="µs",
        value=1e6 * median(each.python for each in found),
        note=", ".join(f"{part} {1e6 * spent:.0f}" for part, spent in parts.items())
        + f" µs of processor time; 1 thread, {SMALL.layers} layers",
    )
