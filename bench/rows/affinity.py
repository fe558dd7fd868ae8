"""Where the turns of conversations are computed when there are several workers."""

import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import anyio
import msgspec
import uvloop

from bench import targets, words
from bench.chats import Client, chat
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.targets import DEMO, Target, Workshop, mesh_command
from schemas.fleet import Advert, ModelState
from schemas.wire import Message

WORKERS, CHATS, TURNS = 3, 30, 4
AT_ONCE = 6
"""Chats that are held at the same time, of three times as many slots."""
SLOTS = 6
TEXT, ANSWER = 40, 16
"""Words of a turn, tokens of an answer."""
SHARE = 90.0
READY_TIME = 60.0


class Turn(Message, frozen=True, kw_only=True):
    """One turn. held_by: who computed the turn before; cached: tokens it had not to compute."""

    held_by: str
    worker: str
    prompt_tokens: int
    cached: int


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Hold conversations with the demo model; ``seconds`` and ``rounds`` play no part."""
    with _workers(shop) as mesh:
        shop.say(f"{CHATS} chats")
        turns = uvloop.run(_chats(mesh, DEMO.stem))
    return Row(figures=(_figure(turns),), details=turns)


@contextmanager
def _workers(shop: Workshop) -> Iterator[Target]:
    flags = {"slots": SLOTS, "threads": 1}
    with ExitStack() as stack:
        mesh = stack.enter_context(targets.llama_mesh(shop, "affinity", DEMO, **flags))
        for number in range(1, WORKERS):
            name = f"another-{number}"
            worker = targets.another_worker(shop, "affinity", name, DEMO, **flags)
            stack.enter_context(worker)
        _wait([*mesh_command("nodes", shop.folder / "affinity", {}), "--json"])
        yield mesh


def _wait(command: Sequence[str]) -> None:
    """Wait until every worker says that its model is ready."""
    deadline = time.monotonic() + READY_TIME
    while time.monotonic() < deadline:
        said = subprocess.run(command, capture_output=True, check=True).stdout
        adverts = msgspec.json.decode(said, type=list[Advert])
        ready = [a for a in adverts if any(m.state is ModelState.READY for m in a.models)]
        if len(ready) == WORKERS:
            return
    raise BenchError(f"{len(ready)} of {WORKERS} workers are ready: {said.decode()[:500]}")


async def _chats(mesh: Target, model: str) -> list[Turn]:
    turns: list[Turn] = []
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def hold(client: Client, seed: int) -> None:
        async with limit:
            turns.extend(await _chat(client, model, seed))

    async with Client(mesh.url) as client, anyio.create_task_group() as tasks:
        for seed in range(CHATS):
            tasks.start_soon(hold, client, seed)
    return turns


async def _chat(client: Client, model: str, seed: int) -> list[Turn]:
    """Hold one conversation; return its turns but the first, which no worker holds."""
    chance = random.Random(seed)  # noqa: S311 - pauses only
    said: list[tuple[str, str]] = []
    turns: list[Turn] = []
    held_by = ""
    for number in range(TURNS):
        said.append(("user", words.prompt(TEXT, seed * TURNS + number)))
        reply = await client.ask(chat(model, said, ANSWER))
        said.append(("assistant", reply.text))
        if held_by:
            turns.append(
                Turn(
                    held_by=held_by,
                    worker=reply.worker,
                    prompt_tokens=reply.usage.prompt_tokens,
                    cached=reply.usage.cached,
                )
            )
        held_by = reply.worker
        await anyio.sleep(chance.uniform(0, 0.2))  # people read; and no two rhythms are alike
    return turns


def _figure(turns: Sequence[Turn]) -> Figure:
    held = sum(turn.worker == turn.held_by for turn in turns)
    cached = sum(turn.cached for turn in turns) / sum(turn.prompt_tokens for turn in turns)
    used = len({turn.worker for turn in turns})
    return Figure(
        name=f"later turns of {CHATS} chats that land on the worker with their prefix",
        unit="%",
        value=100 * held / len(turns),
        peers={"by chance": 100 / WORKERS},
        goal=Goal(text=f"≥ {SHARE:g} %", at_least=SHARE),
        note=f"{held} of {len(turns)}, {AT_ONCE} chats at once on {used} workers; "
        f"{100 * cached:.0f} % of their prompts' tokens came from the cache",
    )
