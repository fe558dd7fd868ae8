"""From the parts of a batch to its two files: the output, and what went wrong."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import blake2b

from msgspec.structs import replace

from gateway.batches.kept import BatchRecord
from gateway.batches.parts import Journal
from gateway.files.cabinet import FOR_OUTPUTS, Arriving, Cabinet, new_record

OUTPUT, ERRORS = "output", "error"


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
        """Write the files of a batch whose parts are all there; may be repeated.

        The files' ids follow from the batch's, so that what somebody left behind who died over
        this is found and taken away, and no file is there twice. Raises ``StoreFull``.
        """
        counts = record.batch.request_counts
        async with AsyncExitStack() as stack:
            output = await self._file(stack, record, OUTPUT) if counts.completed else None
            errors = await self._file(stack, record, ERRORS) if counts.failed else None
            for number in range(1, record.parts + 1):
                part = await self._journal.get(record.id, number)
                for file, answers in ((output, part.output), (errors, part.errors)):
                    if file is not None and answers:
                        await file.write(answers)
            return Written(await _finished(output), await _finished(errors))

    async def _file(self, stack: AsyncExitStack, batch: BatchRecord, what: str) -> Arriving:
        file_id = _file_id(batch.id, what)
        await self._cabinet.clear(batch.tenant, file_id)
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


def _file_id(batch: str, what: str) -> str:
    return f"file-{blake2b(f'{batch}/{what}'.encode(), digest_size=16).hexdigest()}"
