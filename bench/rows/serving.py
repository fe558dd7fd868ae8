"""The mesh with a real model beside llama-server: the same requests, over HTTP."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter

import uvloop

from bench import targets, words
from bench.chats import Client, chat
from bench.failures import WrongAnswer
from bench.figures import Figure, Goal, Row
from bench.rows.batches import ANSWER, BATCHES, PROMPT
from bench.targets import LLAMA_SERVER, MESH, Target, Workshop
from bench.weights import NAME, benchmark_model
from bench.yardsticks import yardsticks

SLOTS = max(BATCHES)
CONTEXT = 2 * (PROMPT + ANSWER)
REPEATS = 2
"""Jobs of one size in a round: the shortest takes half a second."""

Times = dict[int, list[float]]
"""Seconds of the jobs of each size."""


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure jobs of several requests that come at once; ``seconds`` plays no part."""
    tools = yardsticks(shop.cache / "llama.cpp", shop.console)
    model = benchmark_model(shop.cache / "models")
    times: dict[str, Times] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        # Started anew: some processes are a tenth slower than others for as long as they live.
        mesh = targets.llama_mesh(shop, "serving", model, slots=SLOTS, context=CONTEXT)
        server = targets.llama_server(shop, tools.server, model, slots=SLOTS, context=CONTEXT)
        with mesh as ours, server as theirs:
            shop.say(f"round {number + 1}")
            uvloop.run(_jobs([ours, theirs], number, times))
    return Row(figures=tuple(_figure(size, times) for size in BATCHES), details=times)


async def _jobs(servers: Sequence[Target], number: int, times: Mapping[str, Times]) -> None:
    """Have both do each job in turn, seconds apart: the machine's speed drifts by the minute."""
    async with AsyncExitStack() as stack:
        clients = {
            server.name: await stack.enter_async_context(Client(server.url)) for server in servers
        }
        lengths = {name: await _words_of(client) for name, client in clients.items()}
        for repeat in range(REPEATS):
            turn = list(clients.items())[:: 1 if repeat % 2 == 0 else -1]
            for size in BATCHES:
                seed = 1 + 100 * (REPEATS * number + repeat)
                for name, client in turn:
                    texts = [words.prompt(lengths[name], seed + each) for each in range(size)]
                    times[name][size].append(await _job(client, [_body(text) for text in texts]))


async def _words_of(client: Client) -> int:
    """Return how many words make a prompt of the wanted length."""
    first = await client.ask(_body(words.prompt(PROMPT, 0), tokens=2))
    return 2 * PROMPT - first.usage.prompt_tokens


def _body(text: str, tokens: int = ANSWER) -> dict[str, object]:
    """Return a request whose prompt is computed as a whole: neither side keeps any."""
    return chat(NAME, [("user", text)], tokens, cache_prompt=False)


async def _job(client: Client, bodies: Sequence[dict[str, object]]) -> float:
    """Return the seconds until all of the requests are answered."""
    started = perf_counter()
    replies = await client.ask_all(bodies)
    took = perf_counter() - started
    for reply in replies:
        if reply.text.split() != words.said(ANSWER).split() or reply.usage.cached > PROMPT / 10:
            raise WrongAnswer(f"{reply.usage}: {reply.text[:80]!r}…")
    return took


def _figure(size: int, times: Mapping[str, Times]) -> Figure:
    rates = {name: size / median(jobs[size]) for name, jobs in times.items()}
    return Figure(
        name=f"over HTTP, {size} requests at once ({PROMPT} tokens in, {ANSWER} out)",
        unit="requests/s",
        value=rates[MESH],
        peers={LLAMA_SERVER: rates[LLAMA_SERVER]},
        goal=Goal(text="≥ 1x", at_least=rates[LLAMA_SERVER]),
        note=f"{SLOTS} slots, threads as either side chooses; not streamed",
    )
