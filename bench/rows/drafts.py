"""Speculation by prompt lookup: what it wins where a passage is quoted, what it costs elsewhere."""

from collections.abc import Mapping, Sequence
from statistics import median

import uvloop
from msgspec.structs import replace

from bench import words
from bench.failures import WrongAnswer
from bench.figures import Figure, Goal, Row
from bench.steps import Job, Stepped, stepped
from bench.targets import DEMO, Workshop
from bench.weights import benchmark_model
from workers.llama.machine import usable_cores

PASSAGE, ANSWER = 160, 128
"""Words of the text, and how many of them the answer quotes."""
QUOTING, ORDINARY = 1.5, 0.98
REPEATS = 2
"""Of a prompt in one process: the engine learns what drafts cost from the first."""
QUESTIONS = (
    "What is a message bus, and why would a mesh of workers use one?",
    "Write a short letter to a friend about a walk along the river in autumn.",
    "Explain how a deadline is kept when a worker is slow.",
)
"""Put to the demo model, which answers as people write."""
PLAIN, SHIPPED = "plain decoding", "as shipped"

Results = dict[str, list[Stepped]]
"""Of one text: with and without speculation."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure with and without drafts in turns, one stream; ``seconds`` plays no part."""
    results = uvloop.run(_rounds(shop, rounds))
    _check(results)
    quoting, ordinary, spark = (results[name] for name in ("quoting", "ordinary", "spark"))
    figures = (
        _figure("quoting a passage back", quoting, QUOTING),
        _figure("ordinary text", ordinary, ORDINARY),
        _figure("ordinary text, demo model", spark, ORDINARY),
    )
    return Row(figures=figures, details=results)


async def _rounds(shop: Workshop, rounds: int) -> Mapping[str, Results]:
    bench = str(benchmark_model(shop.cache / "models"))
    jobs = {
        "quoting": _job(bench, words.passage(PASSAGE, seed=1)),
        "ordinary": _job(bench, words.prompt(PASSAGE, seed=2)),
        **{f"spark {number}": _job(str(DEMO), text) for number, text in enumerate(QUESTIONS)},
    }
    results: dict[str, Results] = {}
    for number in range(rounds):
        shop.say(f"round {number + 1}")
        for name, job in jobs.items():
            kept = results.setdefault(name.split()[0], {SHIPPED: [], PLAIN: []})
            await _both(job, kept, plain_first=number % 2 == 1)
    return results


def _job(model: str, text: str) -> Job:
    return Job(model=model, prompts=(text,), tokens=ANSWER, threads=usable_cores(), repeats=REPEATS)


async def _both(job: Job, kept: Results, *, plain_first: bool) -> None:
    sides = [(SHIPPED, job), (PLAIN, replace(job, speculate=False))]
    for name, each in sides[::-1] if plain_first else sides:
        kept[name] += await stepped(each)


def _check(results: Mapping[str, Results]) -> None:
    """Raise ``WrongAnswer`` unless every answer is what plain decoding says."""
    for name, kept in results.items():
        shipped, plain = ([each.texts for each in kept[side]] for side in (SHIPPED, PLAIN))
        if sorted(shipped) != sorted(plain):
            raise WrongAnswer(f"{name}: another text than without drafts")
    quoted = results["quoting"][SHIPPED][0].texts[0].split()
    if quoted != words.passage(PASSAGE, seed=1).split()[:ANSWER]:
        raise WrongAnswer(f"not a quotation: {' '.join(quoted)[:80]!r}…")


def _figure(name: str, kept: Results, least: float) -> Figure:
    shipped, plain = (_rate(kept[side]) for side in (SHIPPED, PLAIN))
    per_step = median(each.tokens / each.steps for each in kept[SHIPPED])
    return Figure(
        name=f"decoding, {name}",
        unit="tokens/s",
        value=shipped,
        peers={PLAIN: plain},
        goal=Goal(text=f"≥ {least:g}x plain", at_least=least * plain),
        note=f"{per_step:.2f} tokens per step",
    )


def _rate(results: Sequence[Stepped]) -> float:
    return median(each.rate for each in results)
