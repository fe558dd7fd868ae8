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
from gateway.batches.clerk import Clerk, Desk
from gateway.batches.lines import Line, RawLine, read_line
from gateway.batches.parts import LineResult
from gateway.batches.progress import Progress
from gateway.batches.window import MOST_LINES, Window

log = structlog.get_logger("gateway.batches")


@dataclass(frozen=True)
class Task:
    """What there is to do: lines, of which some are done, and what commits the others' results."""

    lines: AsyncIterator[RawLine]
    progress: Progress
    commit: Callable[[list[LineResult]], Awaitable[None]]


class Work:
    """Has all lines of a batch answered that are not yet."""

    def __init__(self, desk: Desk, task: Task) -> None:
        self._desk, self._task = desk, task
        self._window = Window()
        self._sizes: dict[int, int] = {}
        """Bytes of the lines that are in the window, and of their answers, by place."""
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
                        await self._let_in(raw, place)
                        clerks.start_soon(self._see_to, read_line(raw, place))
            self._basket.close()

    def stop(self, ending: Ending) -> None:
        """Have nothing computed any more: what is not answered yet is said to have ended so."""
        if self._ending is None:
            self._ending = ending
            for scope in tuple(self._computing):
                scope.cancel()

    async def _let_in(self, raw: RawLine, place: int) -> None:
        size = len(raw.raw or b"")
        await self._window.enter(size)
        self._sizes[place] = size

    async def _see_to(self, line: Line) -> None:
        clerk = Clerk(self._desk, line)
        try:
            result = await self._result(clerk)
        except Exception:
            # One line must not cost all others their answers.
            log.exception("batch.line_crashed", batch=self._desk.record.id, place=line.place)
            result = clerk.crashed()
        self._window.hold(len(result.text))
        self._sizes[line.place] += len(result.text)
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
        if self._asked >= 2 * MOST_LINES:
            return clerk.give_up(ending)
        self._asked += 1
        return await clerk.withdraw(ending)

    async def _commit_all(self) -> None:
        while await self._basket.ripe():
            results = self._basket.take()
            await self._task.commit(results)
            for result in results:
                self._window.leave(self._sizes.pop(result.place))
