"""Sends bodies to every endpoint that takes one, and holds every answer to the description."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp
import msgspec

from gateway.aliases import Aliases
from gateway.description import describe
from gateway.openapi import OPERATIONS
from gateway.operation import Operation
from gateway.settings import GatewaySettings
from tests.fuzz.damage import DAMAGES
from tests.fuzz.samples import Sampler

SCRIPTED: Final = GatewaySettings(
    aliases=Aliases.parse(("spark=scripted", "embedder=scripted", "ranker=scripted")),
    drain_timeout=2,
)
"""A gateway whose one scripted model stands for those of the examples."""
TOGETHER: Final = 16
"""Requests at a time."""
SHOWN: Final = 600
"""Bytes of a body that is told of."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One body, where it goes, and what was done to it."""

    operation: Operation
    damage: str
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How the shots ended; ``faults`` tells what should not have happened."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    damages: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def shots(count: int, seed: int) -> Iterator[Shot]:
    """Yield ``count`` shots, the same for the same seed, the operations taking turns."""
    dice = Random(seed)  # noqa: S311 - repeatable, nothing secret
    document = msgspec.json.decode(msgspec.json.encode(describe(OPERATIONS)))
    sampler = Sampler(document["components"]["schemas"], dice)
    posted = [operation for operation in OPERATIONS if operation.request is not None]
    schemas = [_schema(document, operation) for operation in posted]
    for number in range(count):
        operation, schema = posted[number % len(posted)], schemas[number % len(posted)]
        damage = dice.choice(list(DAMAGES))
        body = _sample(sampler, operation, schema, dice)
        yield Shot(operation=operation, damage=damage, raw=DAMAGES[damage](body, dice))


def _schema(document: Any, operation: Operation) -> Any:
    posted = document["paths"][operation.path][operation.method]["requestBody"]
    return posted["content"]["application/json"]["schema"]


def _sample(sampler: Sampler, operation: Operation, schema: Any, dice: Random) -> Any:
    """Return a body full of whatever fits, or the plain example with a few such fields."""
    plain = msgspec.json.decode(operation.example or b"{}")
    drawn = sampler.body(schema, plain.get("model"))
    if dice.random() < 0.5:
        return drawn
    few = dice.sample(list(drawn), min(2, len(drawn)))
    asked = [*few, "model"] if "model" in plain else few
    return plain | {name: drawn[name] for name in asked}


async def fire(url: str, count: int, seed: int, progress: Callable[[int], None]) -> Tally:
    """Send ``count`` bodies to the gateway at ``url`` (its root); ``progress`` hears of each."""
    tally, supply = Tally(), shots(count, seed)

    async def shoot() -> None:
        for shot in supply:
            await _send(session, shot, tally)
            progress(1)

    async with aiohttp.ClientSession(url) as session, asyncio.TaskGroup() as tasks:
        for _ in range(TOGETHER):
            tasks.create_task(shoot())
    return tally


async def _send(session: aiohttp.ClientSession, shot: Shot, tally: Tally) -> None:
    headers = {"Content-Type": "application/json"}
    path = shot.operation.path
    try:
        async with session.post(path, data=shot.raw, headers=headers) as answer:
            status, kind, text = answer.status, answer.content_type, await answer.read()
    except aiohttp.ClientError as error:
        tally.faults.append(_told(shot, f"no answer: {type(error).__name__}"))
        return
    tally.statuses[path, status] += 1
    tally.damages[shot.damage, status] += 1
    fault = _fault(shot.operation, status, kind, text)
    if fault is not None:
        tally.faults.append(_told(shot, fault))


def _fault(operation: Operation, status: int, kind: str, text: bytes) -> str | None:
    """Return what is wrong with an answer, if anything is."""
    if status >= 500:
        return f"{status}: {text[:SHOWN]!r}"
    if status != 200 and status not in operation.failures:
        return f"status {status} is not described"
    try:
        if kind == "text/event-stream":
            return _stream_fault(operation, text)
        msgspec.json.decode(text, type=operation.answer if status == 200 else operation.errors)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"{status}, but not as described: {error}"
    return None


def _stream_fault(operation: Operation, text: bytes) -> str | None:
    """Return what is wrong with a stream; raises ``MsgspecError`` for an event of another form."""
    lines = text.decode().split("\n")
    if "event: error" in lines:
        return "an error inside a stream"
    for line in lines:
        data = line.removeprefix("data: ")
        if data != line and data != operation.last:
            msgspec.json.decode(data, type=operation.event)
    return None


def _told(shot: Shot, fault: str) -> str:
    return f"{shot.operation.path} ({shot.damage}): {fault}; sent {shot.raw[:SHOWN]!r}"
