"""The files of a batch at a real broker: written once, however often that is begun."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.batches import kept
from gateway.batches.assembly import Assembly
from gateway.batches.book import Book
from gateway.batches.kept import BatchRecord
from gateway.batches.parts import Checkpoint, Journal, LineResult, write_part
from gateway.files.cabinet import FOR_OUTPUTS, Cabinet, new_record
from gateway.files.kept import FileRecord
from mesh.accounts import Role
from mesh.errors import Conflict, StoreError
from mesh.objects import CHUNK
from schemas.inference import Policy
from schemas.openai.batches import Batch, BatchStatus
from tests.support.batches import CHAT, batch_broker, batch_gateway, ended, lines_of
from tests.support.mesh import bus_of
from tests.support.responses import client_at

NOW = 1_800_000_000
RESULTS = [
    LineResult(place=1, text=b'{"a":1}\n', ok=True),
    LineResult(place=2, text=b'{"b":2}\n'),
    LineResult(place=3, text=b'{"c":3}\n', ok=True),
]


def record() -> BatchRecord:
    batch = Batch(
        id="batch_1",
        endpoint=CHAT,
        input_file_id="file-1",
        completion_window="24h",
        status=BatchStatus.VALIDATING,
        created_at=NOW,
    )
    file = FileRecord(id="file-1", tenant="t", content="c", created_at=NOW)
    made = BatchRecord(
        batch=batch, tenant="t", created_ms=NOW * 1000, policy=Policy.EDGE_FIRST, file=file
    )
    return kept.begun(made, len(RESULTS), NOW)


async def committed(journal: Journal) -> BatchRecord:
    """Return a batch of which each result is a part."""
    batch, checkpoint = record(), Checkpoint()
    for number, result in enumerate(RESULTS, 1):
        checkpoint = checkpoint.after((result,), ((1, number),))
        await journal.add(batch.id, number, write_part(checkpoint, (result,)))
        batch = kept.counted(batch, number, checkpoint)
    return kept.drafted(kept.finalizing(batch, NOW), "file-output", "file-errors")


async def content_of(cabinet: Cabinet, file: str | None) -> bytes:
    found = await cabinet.find("t", file or "")
    return b"".join([piece async for piece in cabinet.read(found)])


async def test_a_batch_gives_two_files(tmp_path: Path) -> None:
    """Answers and errors lie under the ids of the drafts; discarded, nothing is left of them."""
    async with batch_broker(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        cabinet, journal = Cabinet(bus), Journal(bus)
        batch, assembly = await committed(journal), Assembly(cabinet, journal)
        written = await assembly.write(batch)

        assert (written.output, written.errors) == batch.drafts
        assert await content_of(cabinet, written.output) == RESULTS[0].text + RESULTS[2].text
        assert await content_of(cabinet, written.errors) == RESULTS[1].text
        await assembly.discard("t", batch.drafts)
        assert await cabinet.everything() == []


async def test_who_died_over_the_files_left_nothing(tmp_path: Path) -> None:
    """Whoever goes on writes both anew, whole, and clears up what had been begun."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(batch_broker(tmp_path))
        bus = await stack.enter_async_context(bus_of(broker, Role.GATEWAY))
        cabinet = Cabinet(bus)
        batch = replace(await committed(Journal(bus)), tenant="default")
        begun = new_record("default", "batch_output", file_id=batch.drafts[0])
        dead = await stack.enter_async_context(cabinet.arriving(begun, FOR_OUTPUTS))
        await dead.write(bytes(CHUNK))
        await Book(bus, ttl=60.0).add(batch)
        address = await stack.enter_async_context(batch_gateway(broker))
        client = await stack.enter_async_context(client_at(address))

        done = await ended(client, await client.batches.retrieve(batch.id))

        assert done.status == "completed"
        assert await lines_of(client, done.output_file_id) == [{"a": 1}, {"c": 3}]
        assert await lines_of(client, done.error_file_id) == [{"b": 2}]
        kept_files = {each.id for each in await cabinet.everything()}
        assert kept_files == {done.output_file_id, done.error_file_id}
        with pytest.raises(StoreError):
            assert [piece async for piece in cabinet.contents.read(begun.place, CHUNK)]


async def test_who_is_late_takes_back_only_what_is_its_own(tmp_path: Path) -> None:
    """Where another file has come under the same id, that one stays, whole."""
    async with batch_broker(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        cabinet = Cabinet(bus)
        first, second = (new_record("t", "batch_output", file_id="file-same") for _ in range(2))
        async with cabinet.arriving(first, FOR_OUTPUTS) as late:
            await late.write(b"half a li")
            await cabinet.clear("t", first.id)
            async with cabinet.arriving(second, FOR_OUTPUTS) as file:
                await file.write(b"whole")
                await file.finish(second)
            with pytest.raises(Conflict):
                await late.finish(first)

        assert await content_of(cabinet, second.id) == b"whole"


async def test_a_part_is_written_once(tmp_path: Path) -> None:
    """Of two that commit a part of one number the first is in, and the other one is told."""
    async with batch_broker(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        journal = Journal(bus)
        await journal.add("batch_1", 1, write_part(Checkpoint(completed=1), RESULTS[:1]))
        with pytest.raises(Conflict):
            await journal.add("batch_1", 1, write_part(Checkpoint(failed=1), RESULTS[1:2]))
        assert (await journal.get("batch_1", 1)).checkpoint == Checkpoint(completed=1)
        await journal.forget("batch_1", 1)
        assert await journal.find("batch_1", 1) is None


async def test_what_a_batch_gives_lives_as_long_as_was_asked(tmp_path: Path) -> None:
    """Its files expire as ``output_expires_after`` says."""
    async with batch_broker(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        cabinet, journal = Cabinet(bus), Journal(bus)
        batch = replace(await committed(journal), output_life=3600)
        written = await Assembly(cabinet, journal).write(batch)
        file = await cabinet.find("t", written.output or "")
        assert file.expires_at == file.created_at + 3600
