"""What a runner's desk has just written."""

import asyncio

from mesh.jobs.fresh import LARGEST, MOST, Fresh
from mesh.jobs.store import Kept
from schemas.jobs import JobPointer, JobRecord, JobState


def record(job: str = "job_1") -> JobRecord:
    return JobRecord(id=job, tenant="t", state=JobState.QUEUED)


def pointer(job: str = "job_1") -> JobPointer:
    return JobPointer(id=job, tenant="t", attempt=1)


async def test_a_record_is_handed_on_once() -> None:
    """Whoever comes second reads what the broker has by then."""
    fresh, kept = Fresh(), Kept(record(), 7)
    with fresh.writing(kept.record, 1) as written:
        written(kept)
    assert await fresh.take(pointer()) is kept
    assert await fresh.take(pointer()) is None


async def test_a_message_ahead_of_its_record_waits_for_it() -> None:
    """The record comes to whoever asked while it was written."""
    fresh, kept = Fresh(), Kept(record(), 7)
    with fresh.writing(kept.record, 1) as written:
        taking = asyncio.ensure_future(fresh.take(pointer()))
        await asyncio.sleep(0)
        assert not taking.done()
        written(kept)
    assert await taking is kept


async def test_a_record_that_was_not_written_is_read_at_the_broker() -> None:
    """Whether somebody waits for it or comes later."""
    fresh = Fresh()
    with fresh.writing(record(), 1):
        taking = asyncio.ensure_future(fresh.take(pointer()))
        await asyncio.sleep(0)
    assert await taking is None
    assert await fresh.take(pointer()) is None


async def test_whoever_waits_no_longer_harms_no_writer() -> None:
    """A runner that stops cancels its executions, and its desk goes on."""
    fresh, kept = Fresh(), Kept(record(), 7)
    with fresh.writing(kept.record, 1) as written:
        taking = asyncio.ensure_future(fresh.take(pointer()))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait((taking,))
        written(kept)


async def test_few_and_small_ones_are_kept() -> None:
    """The newest stay, and a large one never does."""
    fresh = Fresh()
    with fresh.writing(record(), LARGEST + 1) as written:
        written(Kept(record(), 1))
    assert await fresh.take(pointer()) is None
    for number in range(MOST + 1):
        each = record(f"job_{number}")
        with fresh.writing(each, LARGEST) as written:
            written(Kept(each, number + 1))
    assert await fresh.take(pointer("job_0")) is None
    for number in (1, MOST):
        found = await fresh.take(pointer(f"job_{number}"))
        assert found is not None
        assert found.revision == number + 1
