"""The lines of a batch side by side: what is computed, and what becomes of it."""

import json
from collections.abc import AsyncIterator
from typing import cast

from msgspec import UnsetType

from gateway.batches.desk import Desk
from gateway.batches.lines import RawLine
from gateway.batches.parts import LineResult
from gateway.batches.progress import Progress
from gateway.batches.work import Task, Work
from mesh.jobs.client import Jobs
from tests.unit.test_batch_parts import CHAT, record

FAR = 200_000_000


class Crash(Exception):
    """Nobody has thought of this."""


def crash(_model: str | UnsetType) -> str:
    raise Crash


async def lines(*numbers: int) -> AsyncIterator[RawLine]:
    for number in numbers:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        asked = {"custom_id": f"at-{number}", "method": "POST", "url": CHAT, "body": body}
        yield RawLine(number, json.dumps(asked).encode())


async def results_of(*numbers: int, progress: Progress) -> list[LineResult]:
    """Return what is committed of requests on these lines, each of which crashes."""
    committed: list[LineResult] = []

    async def commit(results: list[LineResult]) -> None:
        committed.extend(results)

    desk = Desk(record=record(), jobs=cast("Jobs", None), resolve=crash)
    await Work(desk, Task(lines(*numbers), progress, commit)).run()
    return committed


async def test_a_line_that_crashes_costs_no_other() -> None:
    """It is answered as HTTP would have it, with 500, and so is the next."""
    results = await results_of(1, 2, progress=Progress())
    answers = [json.loads(result.text) for result in results]
    assert sorted(answer["custom_id"] for answer in answers) == ["at-1", "at-2"]
    assert {answer["response"]["status_code"] for answer in answers} == {500}


async def test_lines_that_hold_nothing_take_no_place() -> None:
    """However many stand between two requests, these follow one another."""
    results = await results_of(3, 7, FAR, progress=Progress(((1, 1),)))
    assert sorted(result.place for result in results) == [2, 3]
