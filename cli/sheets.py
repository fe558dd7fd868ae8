"""Submitting a file of jobs, one a line, and printing what becomes of them, one a line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import anyio
from anyio.abc import ObjectReceiveStream
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.options import UsageError
from mesh.errors import MeshError
from mesh.failed import failed
from mesh.jobs.client import Jobs
from schemas.frames import Failed
from schemas.jobs import JobRecord, Submit
from schemas.wire import UNREADABLE, Message, decoder, encode

_orders = decoder(Submit)


class LineError(Message, frozen=True, kw_only=True):
    """What is printed for a line that made no job."""

    line: int
    error: Failed


class Advance:
    """Moves a progress bar on by one."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._bar = progress.add_task("jobs", total=total)

    def __call__(self) -> None:
        """Count one line."""
        self._progress.advance(self._bar)


async def submit_sheet(client: Jobs, file: str, *, wait: bool, in_flight: int) -> None:
    """Submit every line and print its record as it ends, or as it was accepted.

    Raises ``MeshError`` at the end if a line made no job, after all the others were served.
    """
    orders = list(_read(file))
    with _progress(len(orders)) as advance:
        sheet = _Sheet(client, wait=wait, advance=advance)
        send, receive = anyio.create_memory_object_stream[tuple[int, Submit]](0)
        async with anyio.create_task_group() as tasks:
            for _ in range(min(in_flight, len(orders))):
                tasks.start_soon(sheet.serve, receive.clone())
            receive.close()
            async with send:
                for order in orders:
                    await send.send(order)
    if sheet.failures:
        raise MeshError(f"{sheet.failures} of {len(orders)} lines made no job; see their lines")


class _Sheet:
    def __init__(self, client: Jobs, *, wait: bool, advance: Advance) -> None:
        self._client, self._wait, self._advance = client, wait, advance
        self.failures = 0

    async def serve(self, orders: ObjectReceiveStream[tuple[int, Submit]]) -> None:
        async with orders:
            async for number, order in orders:
                try:
                    _print(await self._record(order))
                except MeshError as error:
                    self.failures += 1
                    _print(LineError(line=number, error=failed(error)))
                self._advance()

    async def _record(self, order: Submit) -> JobRecord:
        handle = await self._client.submit(order)
        record = await handle.status()
        if self._wait:
            async for record in handle:  # noqa: B007 - the last one counts
                pass
        return record


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(file=sys.stderr)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        yield Advance(progress, total)


def _read(file: str) -> Iterator[tuple[int, Submit]]:
    """Yield the lines with their numbers; raises ``UsageError`` naming one that is no job."""
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, _orders.decode(line)
                except UNREADABLE as error:
                    raise UsageError(f"{file}, line {number}: {error}") from None


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    with Path(file).open(encoding="utf-8") as lines:
        yield lines


def _print(message: Message) -> None:
    sys.stdout.write(encode(message).decode() + "\n")
    sys.stdout.flush()
