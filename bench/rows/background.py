"""What interactive requests notice of a full line of background requests."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import anyio
import uvloop

from bench import targets, words
from bench.chats import Client, Reply, chat, streamed
from bench.failures import WrongAnswer
from bench.figures import Figure, Goal, Row
from bench.load import percentiles
from bench.targets import Target, Workshop
from bench.weights import NAME, benchmark_model
from schemas.wire import Message

SLOTS, CONTEXT = 4, 1024
PROMPT, ANSWER = 200, 24
"""Words of an interactive request, tokens of its answer."""
QUESTIONS = 40
"""Interactive requests in each half of a round, one after the other."""
THINKING = 0.3
"""Seconds at most between two of them: they meet background steps at any point."""
IN_LINE = 4 * SLOTS
"""Background requests at a time: all slots, and three times as many that wait."""
JOB_PROMPT, JOB_ANSWER = 150, 200
WARM_UP = 3
"""Interactive requests that are not counted: the engine learns what they take."""
SHARE = 10.0
"""Per cent by which first tokens may come later."""
FLEX = "flex"


class Found(Message, frozen=True, kw_only=True):
    """First tokens of interactive requests, seconds, and what background requests got meanwhile.

    alone, beside: without and with background requests. job_tokens: of those that were answered.
    """

    alone: tuple[float, ...]
    beside: tuple[float, ...]
    jobs: int
    job_tokens: int
    seconds: float


class Line:
    """Background requests that are asked again as soon as they are answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.answered = self.tokens = 0
        self.moving = anyio.Event()
        """Set with the first answer: the line has been full for a while."""

    async def ask(self, number: int) -> None:
        """Ask until cancelled."""
        for repeat in range(1_000_000):
            text = words.prompt(JOB_PROMPT, 10_000 + IN_LINE * repeat + number)
            body = chat(NAME, [("user", text)], JOB_ANSWER, service_tier=FLEX)
            reply = await self._client.ask(body)
            _check(reply, JOB_ANSWER)
            self.answered += 1
            self.tokens += reply.usage.completion_tokens
            self.moving.set()


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure over HTTP, without and with background requests in turns; ``seconds`` is unused."""
    model = benchmark_model(shop.cache / "models")
    with targets.llama_mesh(shop, "background", model, slots=SLOTS, context=CONTEXT) as mesh:
        found = uvloop.run(_rounds(shop, mesh, rounds))
    return Row(figures=_figures(found), details=found)


async def _rounds(shop: Workshop, mesh: Target, rounds: int) -> list[Found]:
    async with Client(mesh.url) as client:
        await _talk(client, WARM_UP, seed=0)
        found = []
        for number in range(rounds):
            shop.say(f"round {number + 1}")
            seed = 1000 * (number + 1)
            alone = await _talk(client, QUESTIONS, seed)
            async with _full_line(client) as line:
                await _talk(client, WARM_UP, seed + QUESTIONS)
                jobs, tokens, began = line.answered, line.tokens, perf_counter()
                beside = await _talk(client, QUESTIONS, seed + QUESTIONS + WARM_UP)
                found.append(
                    Found(
                        alone=alone,
                        beside=beside,
                        jobs=line.answered - jobs,
                        job_tokens=line.tokens - tokens,
                        seconds=perf_counter() - began,
                    )
                )
        return found


@asynccontextmanager
async def _full_line(client: Client) -> AsyncIterator[Line]:
    line = Line(client)
    async with anyio.create_task_group() as tasks:
        for number in range(IN_LINE):
            tasks.start_soon(line.ask, number)
        await line.moving.wait()
        yield line
        tasks.cancel_scope.cancel()


async def _talk(client: Client, count: int, seed: int) -> tuple[float, ...]:
    """Ask one question after the other; return the seconds to each first token."""
    dice = random.Random(seed)  # noqa: S311 - pauses
    waits = []
    for number in range(count):
        await anyio.sleep(dice.uniform(0, THINKING))
        body = chat(NAME, [("user", words.prompt(PROMPT, seed + number))], ANSWER)
        reply = await client.ask(streamed(body))
        _check(reply, ANSWER)
        waits.append(reply.first_token)
    return tuple(waits)


def _check(reply: Reply, tokens: int) -> None:
    if reply.text != words.said(tokens):
        raise WrongAnswer(f"not the tape's first {tokens} words: {reply.text[:200]!r}")


def _figures(found: Sequence[Found]) -> tuple[Figure, ...]:
    alone = percentiles([wait for each in found for wait in each.alone])
    beside = percentiles([wait for each in found for wait in each.beside])
    return (
        _later("p95", alone.p95, beside.p95, Goal(text=f"≤ {SHARE:g} %", at_most=SHARE)),
        _later("p50", alone.p50, beside.p50, None),
        _throughput(found),
    )


def _later(rank: str, alone: float, beside: float, goal: Goal | None) -> Figure:
    return Figure(
        name=f"first token {rank} with {IN_LINE} background requests in line: later by",
        unit="%",
        value=100 * (beside / alone - 1),
        goal=goal,
        note=f"{alone:.0f} ms without, {beside:.0f} ms with them, over HTTP",
    )


def _throughput(found: Sequence[Found]) -> Figure:
    seconds, jobs = sum(each.seconds for each in found), sum(each.jobs for each in found)
    return Figure(
        name="background tokens/s beside an interactive client",
        unit="/s",
        value=sum(each.job_tokens for each in found) / seconds,
        note=f"{jobs} answers of {JOB_ANSWER} tokens in {seconds:.0f} s",
    )
