"""One job of a line: submitted, waited for, or withdrawn."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from gateway.batches.desk import Desk
from mesh.errors import Conflict, MeshError
from mesh.jobs.client import PASSING, JobHandle
from schemas.failures import FailureCode
from schemas.inference import InferRequest
from schemas.jobs import JobRecord, Priority, Submit

LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries to submit a job for which there is no room, or nobody to ask."""
_LATER: Final = PASSING | {FailureCode.STORE_FULL}

T = TypeVar("T")


class Assignment:
    """A job whose id is that of its line and of no other: what was submitted before is found."""

    def __init__(self, desk: Desk, job: str, request: InferRequest) -> None:
        self._desk, self._job, self._request = desk, job, request
        self._handle = desk.jobs.handle(job)
        self._record: JobRecord | None = None

    async def submit(self) -> None:
        """Submit the job, unless it is there; it takes as long as it takes."""
        self._handle = await _patiently(self._submitted)

    async def ended(self) -> JobRecord:
        """Wait for the end of the job that was submitted, and return its record."""
        self._record = await _patiently(self._handle.ended)
        return self._record

    async def withdraw(self) -> JobRecord | None:
        """Cancel the job, and return it as it then is; ``None`` if there is none to be found."""
        if self._record is not None:
            return self._record
        try:
            return await self._cancelled()
        except MeshError:
            return None

    async def _submitted(self) -> JobHandle:
        try:
            return await self._desk.jobs.submit(
                Submit(
                    request=self._request,
                    id=self._job,
                    priority=Priority.LOW,
                    deadline_ms=self._desk.deadline_ms,
                )
            )
        except Conflict:
            return self._desk.jobs.handle(self._job)

    async def _cancelled(self) -> JobRecord:
        try:
            return await self._desk.jobs.cancel(self._job)
        except Conflict:
            return await self._desk.jobs.get(self._job)


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Repeat what fails for a reason that passes."""
    pause = 0.1
    while True:
        try:
            return await act()
        except MeshError as error:
            if error.code not in _LATER:
                raise
        await anyio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
