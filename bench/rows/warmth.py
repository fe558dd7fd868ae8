"""What a conversation's second turn saves, and what conversations with one beginning share."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import anyio
import uvloop

from bench import targets, words
from bench.chats import Client, chat, streamed
from bench.engines import POLL, compute, compute_all, request, running_engine
from bench.figures import Figure, Goal, Row
from bench.targets import Target, Workshop
from bench.weights import NAME, benchmark_model
from schemas.wire import Message
from workers.llama.engine import LlamaEngine

HISTORY = 500
"""Tokens of the first turn."""
QUESTION = 12
"""Words of the second."""
SHARE = 10.0
"""Per cent."""
ANSWER = 16
MANY, SYSTEM, OWN = 8, 400, 40
"""Conversations, words of the system prompt they share, words of each one's own question."""
SPARE = 1.1


class Held(Message, frozen=True, kw_only=True):
    """Cells of the KV cache that conversations held together, and tokens that each one had."""

    cells: int
    tokens: tuple[int, ...]
    shared: int


class Second(Message, frozen=True, kw_only=True):
    """First tokens of one second turn, seconds, and the tokens it had not to compute."""

    cold: float
    warm: float
    prompt_tokens: int
    cached_tokens: int


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure second turns over HTTP and shared cells at the pipe; ``seconds`` plays no part."""
    model = benchmark_model(shop.cache / "models")
    with targets.llama_mesh(shop, "warmth", model, slots=2, context=2048) as mesh:
        seconds_turns = uvloop.run(_second_turns(shop, mesh, rounds))
    shop.say(f"{MANY} conversations")
    held = uvloop.run(_together(model))
    details = {"second turns": seconds_turns, "held": held}
    return Row(figures=(_first_token(seconds_turns), _shared(held)), details=details)


async def _second_turns(shop: Workshop, mesh: Target, rounds: int) -> list[Second]:
    async with Client(mesh.url) as client:
        await _conversation(client, seed=0)
        turns = []
        for number in range(rounds):
            shop.say(f"round {number + 1}")
            turns.append(await _conversation(client, seed=10 * (number + 1)))
        return turns


async def _conversation(client: Client, seed: int) -> Second:
    history = ("user", words.prompt(HISTORY, seed))
    first = await client.ask(streamed(chat(NAME, [history], ANSWER)))
    turns = [history, ("assistant", first.text), ("user", words.prompt(QUESTION, seed + 1))]
    warm = await client.ask(streamed(chat(NAME, turns, ANSWER)))
    cold = await client.ask(streamed(chat(NAME, turns, ANSWER, cache_prompt=False)))
    return Second(
        cold=cold.first_token,
        warm=warm.first_token,
        prompt_tokens=warm.usage.prompt_tokens,
        cached_tokens=warm.usage.cached,
    )


def _first_token(turns: Sequence[Second]) -> Figure:
    cold, warm = (median(getattr(turn, name) for turn in turns) for name in ("cold", "warm"))
    last = turns[-1]
    return Figure(
        name=f"first token of a second turn after {HISTORY} tokens, over HTTP",
        unit="% of cold",
        value=100 * median(turn.warm / turn.cold for turn in turns),
        goal=Goal(text=f"≤ {SHARE:g} %", at_most=SHARE),
        note=f"cold {1000 * cold:.0f} ms, warm {1000 * warm:.0f} ms; {last.cached_tokens} of "
        f"{last.prompt_tokens} tokens from the cache",
    )


async def _together(model: Path) -> Held:
    """Let one conversation begin, then all of them at once, and watch the cache meanwhile."""
    system = words.prompt(SYSTEM, seed=1)
    async with running_engine(model, slots=MANY, context=1024) as engine:
        empty = engine.status().kv_free
        await compute(engine, request("ba", 2, system=system, cached=True))
        wanted = [
            request(words.prompt(OWN, 2 + each), ANSWER, system=system, cached=True)
            for each in range(MANY)
        ]
        least = [empty]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, engine, least)
            outputs = await compute_all(engine, wanted)
            tasks.cancel_scope.cancel()
    tokens = tuple(o.usage.prompt_tokens + o.usage.completion_tokens for o in outputs)
    shared = min(output.usage.cached_tokens for output in outputs)
    return Held(cells=empty - min(least), tokens=tokens, shared=shared)


async def _watch(engine: LlamaEngine, free: list[int]) -> None:
    while True:
        free.append(engine.status().kv_free)
        await anyio.sleep(POLL)


def _shared(held: Held) -> Figure:
    return Figure(
        name=f"KV cells of {MANY} conversations with one system prompt",
        unit="cells",
        value=held.cells,
        peers={"nothing shared": sum(held.tokens)},
        goal=Goal(text="held once (+10 %)", at_most=SPARE * (SYSTEM + _own(held))),
        note=f"{held.shared} tokens of each came from the cache",
    )


def _own(held: Held) -> int:
    """Return the tokens that the conversations do not share."""
    return sum(held.tokens) - SYSTEM * len(held.tokens)
