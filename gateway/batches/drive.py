"""Driving one batch from where it stands to its end, as far as this gateway gets.

Whatever is decided is written before anything follows from it. So a gateway that takes over reads
where the batch stands and goes on from there; what was under way is submitted again and found.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel
import structlog
from msgspec import UnsetType

from gateway.batches import kept
from gateway.batches.answers import Ending
from gateway.batches.assembly import Assembly
from gateway.batches.book import Book, Kept
from gateway.batches.desk import Desk
from gateway.batches.kept import BatchRecord
from gateway.batches.lines import Inspector, Rules, split
from gateway.batches.parts import Checkpoint, Journal, LineResult, write_part
from gateway.batches.progress import Progress
from gateway.batches.purse import purse_of
from gateway.batches.work import Task, Work
from gateway.files.cabinet import Cabinet
from gateway.files.kept import new_id
from gateway.reception import House
from mesh.errors import Conflict, MeshError
from mesh.fleet import ADVERT_INTERVAL
from mesh.jobs.client import Jobs
from schemas.openai.batches import BatchError, BatchStatus

log = structlog.get_logger("gateway.batches")

LOOK_EVERY: Final = 1.0
"""Seconds between looks at whether a batch was cancelled, or its window is over."""
FORGOTTEN_AT_ONCE: Final = 16
TRIES: Final = 5
LINES_AT_A_TIME: Final = 32
"""Lines of a file that are looked at without letting anything else run."""
HEARD_WITHIN: Final = 2 * ADVERT_INTERVAL
"""Seconds in which every worker tells what it serves."""
LISTEN: Final = 60.0
"""Seconds for which a gateway that hears no worker at all does not fail a batch for its models."""


class Superseded(MeshError):
    """Another gateway drives the batch now."""


@dataclass(frozen=True, kw_only=True)
class Garage:
    """What drives need; ``jobs`` of a tenant."""

    house: House
    book: Book
    cabinet: Cabinet
    journal: Journal
    assembly: Assembly
    jobs: Callable[[str], Jobs]


class Drive:
    """One batch, driven by this gateway for as long as it has the lease."""

    def __init__(self, garage: Garage, batch: Kept, mark: str) -> None:
        """``mark``: of this drive alone."""
        self._garage, self._kept, self._mark = garage, batch, mark
        self._checkpoint = Checkpoint()
        self._progress = Progress()
        self._parts = batch.record.parts
        self._purse = purse_of(garage.house, batch.record)
        self._changing = anyio.Lock()

    @property
    def id(self) -> str:
        """The batch's id."""
        return self._record.id

    @property
    def expires_at(self) -> int:
        """When the batch's window ends, in Unix seconds."""
        return self._record.batch.expires_at or 0

    @property
    def _record(self) -> BatchRecord:
        return self._kept.record

    async def run(self) -> None:
        """Drive the batch to its end; raises ``MeshError`` if somebody has to go on later."""
        if self._record.status.final:
            await self._close()
            return
        await self._take_over()
        if self._record.status is BatchStatus.VALIDATING:
            await self._validate()
        if self._record.status in (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING):
            await self._answer()
        if self._record.status in (BatchStatus.FINALIZING, BatchStatus.CANCELLING):
            await self._finish()
        await self._close()

    async def fail(self) -> None:
        """End a batch that cannot be driven for a reason of ours."""
        error = BatchError(code="internal_error", message="The gateway failed over this batch.")
        await self._change(lambda record: kept.refused(record, (error,), _now()))
        await self._close()

    async def _take_over(self) -> None:
        """Set the mark, and find out how far things went; a part may be there that nobody told."""
        garage, record = self._garage, self._record
        self._kept = await garage.book.change(self._kept, kept.taken(record, self._mark))
        if self._parts:
            self._checkpoint = (await garage.journal.get(record.id, self._parts)).checkpoint
        while (part := await garage.journal.find(record.id, self._parts + 1)) is not None:
            self._parts, self._checkpoint = self._parts + 1, part.checkpoint
        if self._parts > record.parts:
            await self._change(self._counted)
        self._progress = Progress(self._checkpoint.done)
        log.info("batch.driven", batch=record.id, status=record.status.value, parts=self._parts)

    async def _validate(self) -> None:
        inspector = await self._inspect()
        if inspector.misses_models and not self._hears_workers():
            await self._listen()
            inspector = await self._inspect()
        errors, total = tuple(inspector.errors), inspector.total

        def judged(record: BatchRecord) -> BatchRecord:
            if record.status is not BatchStatus.VALIDATING:
                return record
            if errors:
                return kept.refused(record, errors, _now())
            return kept.begun(record, total, _now())

        await self._change(judged)

    def _hears_workers(self) -> bool:
        """Tell whether models that are not known are unknown to the mesh, and not to us alone."""
        fleet = self._garage.house.fleet
        return fleet.settled and not fleet.is_empty

    async def _listen(self) -> None:
        """Give workers the time to be heard: we may have just come up, or their broker be away."""
        for _ in range(round(LISTEN / HEARD_WITHIN)):
            if self._hears_workers():
                return
            await anyio.sleep(HEARD_WITHIN)

    async def _inspect(self) -> Inspector:
        rules = self._rules()
        inspector = Inspector(rules)
        async for line in split(self._garage.cabinet.read(self._record.file), rules.longest):
            inspector.look(line)
            if inspector.has_seen_enough:
                break
            if inspector.total % LINES_AT_A_TIME == 0:
                await anyio.lowlevel.checkpoint()  # whoever waits for an answer comes first
        inspector.finish()
        return inspector

    def _rules(self) -> Rules:
        house, allowed = self._garage.house, self._record.models

        def serves(model: str) -> bool:
            name = self._resolve(model)
            return house.fleet.remembers(name) and (not allowed or name in allowed)

        return Rules(
            endpoint=self._record.batch.endpoint,
            most=house.settings.max_batch_lines,
            longest=house.settings.max_body,
            serves=serves,
            default_model=house.settings.aliases.default,
        )

    async def _answer(self) -> None:
        if self._record.batch.in_progress_at is None:
            return  # cancelled before its file was read
        garage = self._garage
        if self._purse is not None and not garage.house.fleet.settled:
            await anyio.sleep(HEARD_WITHIN)  # or the cloud would seem to have no prices
        desk = Desk(
            record=self._record,
            jobs=garage.jobs(self._record.tenant),
            resolve=self._resolve,
            purse=self._purse,
        )
        file = self._record.file
        # The lines were measured when the file was looked at, maybe by a gateway that takes more.
        lines = split(garage.cabinet.read(file), file.bytes)
        work = Work(desk, Task(lines, self._progress, self._commit))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, work)
            await work.run()
            tasks.cancel_scope.cancel()
        await self._change(lambda record: kept.finalizing(record, _now()))

    async def _watch(self, work: Work) -> None:
        """Stop the work when the batch is cancelled, or its time is over."""
        while True:
            if self._record.status is BatchStatus.CANCELLING:
                work.stop(Ending.CANCELLED)
            elif time.time() >= self.expires_at:
                work.stop(Ending.EXPIRED)
            await anyio.sleep(LOOK_EVERY)
            await self._change(lambda record: record)

    async def _commit(self, results: list[LineResult]) -> None:
        """Store results and how far the batch is with them, in one write; the record follows."""
        garage, number = self._garage, self._parts + 1
        for result in results:
            self._progress.add(result.place)
        checkpoint = self._checkpoint.after(results, self._progress.ranges())
        try:
            await garage.journal.add(self._record.id, number, write_part(checkpoint, results))
        except Conflict:
            raise Superseded("another gateway has committed this part") from None
        self._parts, self._checkpoint = number, checkpoint
        if self._purse is not None:
            self._purse.committed(results)
        await self._change(self._counted)
        await self._forget([job for result in results for job in result.jobs])

    def _counted(self, record: BatchRecord) -> BatchRecord:
        return kept.counted(record, self._parts, self._checkpoint)

    async def _forget(self, jobs: list[str]) -> None:
        """Drop the records of jobs whose results are committed; what stays goes by itself."""
        turns, client = anyio.Semaphore(FORGOTTEN_AT_ONCE), self._garage.jobs(self._record.tenant)

        async def drop(job: str) -> None:
            async with turns:
                try:
                    await client.drop(job)
                except MeshError as error:
                    log.debug("batch.job_stays", job=job, reason=error.code.value)

        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(drop, job)

    async def _finish(self) -> None:
        """Write the files, under ids that are this driver's alone.

        They are in the record before they are used. So a driver that was away may clear up behind
        those before it, and has no way to touch what those after it have written.
        """
        assembly, tenant, left = self._garage.assembly, self._record.tenant, self._record.drafts
        output, errors = new_id(), new_id()
        await self._change(lambda record: kept.drafted(record, output, errors))
        await assembly.discard(tenant, left)
        written = await assembly.write(self._record)
        try:
            await self._change(
                lambda record: kept.ended(record, written.output, written.errors, _now())
            )
        except Superseded:
            await assembly.discard(tenant, (output, errors))
            raise
        log.info("batch.ended", batch=self._record.id, status=self._record.status.value)

    async def _close(self) -> None:
        await self._garage.journal.forget(self._record.id, self._record.parts)
        await self._garage.book.close(self._record.id)

    async def _change(self, change: Callable[[BatchRecord], BatchRecord]) -> None:
        """Change the record as it is now; raises ``Superseded`` if somebody else drives it."""
        async with self._changing:
            for _ in range(TRIES):
                now = await self._garage.book.find(self._record.tenant, self._record.id)
                if now.record.driver != self._mark:
                    raise Superseded("another gateway drives this batch")
                if await self._changed(now, change(now.record)):
                    return
        raise Conflict("the batch changes too fast")

    async def _changed(self, now: Kept, record: BatchRecord) -> bool:
        """Write the record if it is another one; false: somebody was faster."""
        try:
            same = record == now.record
            self._kept = now if same else await self._garage.book.change(now, record)
        except Conflict:
            return False
        return True

    def _resolve(self, model: str | UnsetType) -> str:
        house = self._garage.house
        aliases = house.settings.aliases
        return aliases.resolve(aliases.named(model), house.fleet.remembers)


def _now() -> int:
    return int(time.time())
