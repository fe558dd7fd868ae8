"""Durable jobs from submission to result, on a real broker with a real worker."""

from pathlib import Path

from schemas.jobs import JobState
from tests.support.jobs import job_mesh, order
from tests.support.requests import numbers


async def test_a_job_is_computed_and_kept(tmp_path: Path) -> None:
    """The result of a job is what a chat would have answered, and stays in its record."""
    async with job_mesh(tmp_path) as mesh:
        handle = await mesh.jobs.submit(order())
        completion = await handle.result(timeout=10)
        assert completion.text == numbers(16)
        record = await mesh.jobs.get(handle.id)
        assert record.state is JobState.SUCCEEDED
        assert record.result == completion
        assert record.attempt == 1
