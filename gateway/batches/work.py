"""The lines of one batch, computed side by side: a window of jobs moves over the file.

Never more than the window is under way or waits to be committed, however long the file is, and
answers that wait take their room in it. That bounds the memory, leaves the runners room for other
batches, and tells whoever takes over how many jobs there can be beyond what is committed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import anyio
import structlog

from gateway.batches.answers import Ending
from gateway.batches.basket import Basket
from gateway.batches.clerk import Clerk
from gateway.batches.desk import Desk
from gateway.batches.lines import RawLine, read_line
from gateway.batches.parts import LineResult
from gateway.batches.progress import Progress
from gateway.batches.window import MOST_JOBS, Window

log = structlog.get_logger("gateway.batches")


@dataclass(frozen=True)
class Task:
    """What there is to do: lines, of which some are done, and what commits the others' results."""

    lines: AsyncIterator[RawLine]
    progress: Progress
    commit: Callable[[list[LineResult]], Awaitable[None]]


@dataclass
class Load:
    """What a line takes of the window: bytes of it and of its answer, and jobs."""

    size: int
    jobs: int


class Work:
    """Has all lines of a batch answered that are not yet."""

    def __init__(self, desk: Desk, task: Task) -> None:
        self._desk, self._task = desk, task
        self._window = Window()
        self._loads: dict[int, Load] = {}
        """Of the lines that are in the window, by place."""
        self._basket = Basket()
        self._computing: set[anyio.CancelScope] = set()
        self._ending: Ending | None = None
        self._asked = 0

    async def run(self) -> None:
        """Return when the last result is committed; raises what ``commit`` raises."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._commit_all)
            async with anyio.create_task_group() as clerks:
                place = 0
                async for raw in self._task.lines:
                    place += 1
                    if place not in self._task.progress:
                        clerk = Clerk(self._desk, read_line(raw, place))
                        await self._let_in(clerk, len(raw.raw or b""))
                        clerks.start_soon(self._see_to, clerk)
            self._basket.close()

    def stop(self, ending: Ending) -> None:
        """Have nothing computed any more: what is not answered yet is said to have ended so."""
        if self._ending is None:
            self._ending = ending
            for scope in tuple(self._computing):
                scope.cancel()

    async def _let_in(self, clerk: Clerk, size: int) -> None:
        load = self._loads[clerk.place] = Load(size, _jobs_of(clerk))
        await self._window.enter(load.size, load.jobs)

    async def _see_to(self, clerk: Clerk) -> None:
        try:
            result = await self._result(clerk)
        except Exception:
            # One line must not cost all others their answers.
            log.exception("batch.line_crashed", batch=self._desk.record.id, place=clerk.place)
            result = clerk.crashed()
        self._window.hold(len(result.text))
        self._loads[clerk.place].size += len(result.text)
        self._basket.add(result)

    async def _result(self, clerk: Clerk) -> LineResult:
        if self._ending is None:
            with anyio.CancelScope() as scope:
                self._computing.add(scope)
                try:
                    return await clerk.answer()
                finally:
                    self._computing.discard(scope)
        ending = self._ending
        assert ending is not None, "a scope is cancelled by a stop alone"  # noqa: S101
        return await self._ended(clerk, ending)

    async def _ended(self, clerk: Clerk, ending: Ending) -> LineResult:
        """Cancel the jobs that there may be: ours, and those of whoever drove the batch before.

        Those are among the first lines that are not answered, as many as the window holds; what
        comes after was never submitted.
        """
        if self._asked >= 2 * MOST_JOBS:
            return clerk.give_up(ending)
        self._asked += self._loads[clerk.place].jobs
        return await clerk.withdraw(ending)

    async def _commit_all(self) -> None:
        while await self._basket.ripe():
            results = self._basket.take()
            await self._task.commit(results)
            for result in results:
                load = self._loads.pop(result.place)
                self._window.leave(load.size, load.jobs)


def _jobs_of(clerk: Clerk) -> int:
    """Return how many jobs a line stands for in the window, one at least."""
    try:
        return max(1, clerk.jobs)
    except Exception:  # the same again when the line is seen to, and there it is told
        return 1
