"""What a conversation's second turn saves, and what conversations with one beginning share."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import uvloop

from bench import targets, words
from bench.chats import Client, chat, streamed
from bench.engines import PATIENCE_MS, request
from bench.figures import Figure, Goal, Row
from bench.targets import Target, Workshop
from bench.weights import NAME, benchmark_model
from schemas.inference import InferRequest, Usage
from schemas.wire import Message
from workers.llama.boot import boot
from workers.llama.loop import Loop
from workers.llama.messages import Open, Submit
from workers.llama.settings import LlamaSettings

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
    """Tokens whose rows are kept of conversations, and tokens that each one had."""

    kept: int
    tokens: tuple[int, ...]
    shared: int


class Second(Message, frozen=True, kw_only=True):
    """First tokens of one second turn, seconds, and the tokens it had not to compute."""

    cold: float
    warm: float
    prompt_tokens: int
    cached_tokens: int


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure second turns over HTTP, and what the loop keeps; ``seconds`` plays no part."""
    model = benchmark_model(shop.cache / "models")
    with targets.llama_mesh(shop, "warmth", model, slots=2, context=2048) as mesh:
        seconds_turns = uvloop.run(_second_turns(shop, mesh, rounds))
    shop.say(f"{MANY} conversations")
    held = _together(model)
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


def _together(model: Path) -> Held:
    """Let one conversation go first, then all of them at once, and see what is kept of them."""
    system = words.prompt(SYSTEM, seed=1)
    settings = LlamaSettings(model=model, slots=MANY, context=1024)
    loop, _ = boot(Open.of(settings), lambda _done: True)
    assert isinstance(loop, Loop)
    _answer(loop, [request("ba", 2, system=system, cached=True)])
    bank = loop.cache.bank
    [first] = loop.cache.prefixes
    row = bank.used / len(first.tokens)
    questions = [words.prompt(OWN, 2 + each) for each in range(MANY)]
    ends = _answer(loop, [request(each, ANSWER, system=system, cached=True) for each in questions])
    return Held(
        kept=round(bank.used / row) - (len(first.tokens) - SYSTEM),
        tokens=tuple(end.prompt_tokens + end.completion_tokens for end in ends),
        shared=min(end.cached_tokens for end in ends),
    )


def _answer(loop: Loop, wanted: Sequence[InferRequest]) -> list[Usage]:
    """Compute requests that come at the same moment, and return what each took."""
    for number, each in enumerate(wanted):
        loop.handle(Submit(number, remaining_ms=PATIENCE_MS, request=each))
    ends: list[Usage] = []
    while not loop.is_idle:
        ends += [output.usage for output in loop.step().outputs if output.usage is not None]
    return ends


def _shared(held: Held) -> Figure:
    return Figure(
        name=f"kept of {MANY} conversations with one system prompt",
        unit="tokens",
        value=held.kept,
        peers={"nothing shared": sum(held.tokens)},
        goal=Goal(text="held once (+10 %)", at_most=SPARE * (SYSTEM + _own(held))),
        note=f"{held.shared} tokens of each came from the cache",
    )


def _own(held: Held) -> int:
    """Return the tokens that the conversations do not share."""
    return sum(held.tokens) - SYSTEM * len(held.tokens)
