"""From the parts of a batch to its two files: the output, and what went wrong."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.batches.kept import BatchRecord
from gateway.batches.parts import Journal
from gateway.files.cabinet import FOR_OUTPUTS, Arriving, Cabinet, new_record


@dataclass(frozen=True)
class Written:
    """The ids of the files; ``None`` for one that would be empty."""

    output: str | None = None
    errors: str | None = None


class Assembly:
    """Writes the files of batches."""

    def __init__(self, cabinet: Cabinet, journal: Journal) -> None:
        self._cabinet, self._journal = cabinet, journal

    async def write(self, record: BatchRecord) -> Written:
        """Write the files of a batch whose parts are all there, under the ids of its drafts.

        Raises ``StoreFull``; what was written by then is taken back.
        """
        counts = record.batch.request_counts
        output_id, errors_id = record.drafts
        async with AsyncExitStack() as stack:
            output = errors = None
            if counts.completed:
                output = await self._file(stack, record, output_id, "output")
            if counts.failed:
                errors = await self._file(stack, record, errors_id, "error")
            for number in range(1, record.parts + 1):
                part = await self._journal.get(record.id, number)
                for file, answers in ((output, part.output), (errors, part.errors)):
                    if file is not None and answers:
                        await file.write(answers)
            return Written(await _finished(output), await _finished(errors))

    async def discard(self, tenant: str, drafts: tuple[str, ...]) -> None:
        """Remove files that belong to no batch: of a driver that did not get to the end."""
        for file_id in drafts:
            await self._cabinet.clear(tenant, file_id)

    async def _file(
        self, stack: AsyncExitStack, batch: BatchRecord, file_id: str, what: str
    ) -> Arriving:
        record = new_record(batch.tenant, "batch_output", file_id=file_id)
        life = batch.output_life
        named = replace(
            record,
            filename=f"{batch.id}_{what}.jsonl",
            expires_at=None if life is None else record.created_at + life,
        )
        return await stack.enter_async_context(self._cabinet.arriving(named, FOR_OUTPUTS))


async def _finished(file: Arriving | None) -> str | None:
    return None if file is None else (await file.finish(file.record)).id
