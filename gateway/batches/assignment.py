"""One job of a line: submitted, waited for, or withdrawn."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from gateway.batches.bills import Bill, Funded
from gateway.batches.desk import Desk
from mesh.errors import Conflict, InvalidRequest, JobNotFound, MeshError, PayloadTooLarge
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
        self._desk, self.id = desk, job
        self._funded = Funded(request)
        self._handle = desk.jobs.handle(job)
        self._record: JobRecord | None = None
        self._is_there = self._may_be_there = False

    @property
    def request(self) -> InferRequest:
        """What the job asks for."""
        return self._funded.request

    async def exists(self) -> bool:
        """Tell whether the job was submitted before, by whoever saw to the line then."""
        try:
            await _patiently(lambda: self._desk.jobs.get(self.id))
        except JobNotFound:
            return False
        self._is_there = True
        return True

    def fund(self, funded: Funded) -> None:
        """Have the job submitted on these terms."""
        self._funded = funded

    async def submit(self) -> None:
        """Submit the job, unless it is there; it takes as long as it takes."""
        if not self._is_there:
            self._may_be_there = True
            try:
                self._handle = await _patiently(self._submitted)
            except (InvalidRequest, PayloadTooLarge):
                self._may_be_there = False
                raise

    async def ended(self) -> JobRecord:
        """Wait for the end of the job that was submitted, and return its record."""
        self._record = await _patiently(self._handle.ended)
        return self._record

    async def withdraw(self) -> JobRecord | None:
        """Cancel the job, and return it as it then is; ``None`` if there is none to be found."""
        if self._record is None:
            try:
                self._record = await self._cancelled()
            except MeshError:
                return None
        return self._record

    def bills(self) -> tuple[Bill, ...]:
        """Return what the job cost, as far as that is known; what is not stays set aside."""
        own, purse = self._funded.due, self._desk.purse
        if purse is None:
            return ()
        if self._record is not None:
            return purse.bill(self._record, own)
        return () if own is None or self._may_be_there else (Bill(own, 0),)

    async def _submitted(self) -> JobHandle:
        try:
            return await self._desk.jobs.submit(
                Submit(
                    request=self._funded.request,
                    id=self.id,
                    priority=Priority.LOW,
                    deadline_ms=self._desk.deadline_ms,
                    note=self._funded.note,
                )
            )
        except Conflict:
            return self._desk.jobs.handle(self.id)

    async def _cancelled(self) -> JobRecord:
        try:
            return await self._desk.jobs.cancel(self.id)
        except Conflict:
            return await self._desk.jobs.get(self.id)


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
