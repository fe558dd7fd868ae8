"""From one line to its result: translated, computed as a job, and translated back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
from msgspec import UnsetType

from gateway.batches import answers
from gateway.batches.answers import Ending, Names
from gateway.batches.kept import BatchRecord
from gateway.batches.kinds import KINDS, Kind, Prepared
from gateway.batches.lines import Line
from gateway.batches.parts import LineResult
from gateway.problems import Problem, describe
from gateway.translate import Terms
from mesh.errors import Conflict, InternalError, MeshError, ModelNotFound, from_code
from mesh.jobs.client import PASSING, JobHandle, Jobs
from schemas.failures import FailureCode
from schemas.jobs import JobRecord, JobState, Priority, Submit

LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries to submit a line for which there is no room, or nobody to ask."""
_LATER: Final = PASSING | {FailureCode.STORE_FULL}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What clerks of one batch work with.

    resolve: a model's name in the mesh.
    """

    record: BatchRecord
    jobs: Jobs
    resolve: Callable[[str | UnsetType], str]

    @property
    def kind(self) -> Kind[Any]:
        """The endpoint of the batch."""
        return KINDS[self.record.batch.endpoint]

    @property
    def deadline_ms(self) -> int:
        """Milliseconds that are left of the batch's window."""
        expires_at = self.record.batch.expires_at or 0
        return max(1, round((expires_at - time.time()) * 1000))


class Clerk:
    """Sees to one line."""

    def __init__(self, desk: Desk, line: Line) -> None:
        self._desk, self._line = desk, line
        self._names = Names.of(desk.record.id, line.custom_id)

    async def answer(self) -> LineResult:
        """Have the line computed, and wait for that; it takes as long as it takes."""
        try:
            prepared = self._desk.kind.prepare(self._line.body, self._terms)
        except MeshError as error:
            return self._failed(describe(error))
        try:
            result = self._told(await self._ended(prepared), prepared)
        except MeshError as error:
            result = self._failed(describe(error))
        return self._of_job(result)

    async def withdraw(self, ending: Ending) -> LineResult:
        """Have the line computed no more; one that was computed already is answered."""
        try:
            prepared = self._desk.kind.prepare(self._line.body, self._terms)
        except MeshError as error:
            return self._failed(describe(error))
        job = await self._cancelled()
        if job is None or job.state is JobState.CANCELLED:
            return self._of_job(self.give_up(ending))
        return self._of_job(self._told(job, prepared))

    def give_up(self, ending: Ending) -> LineResult:
        """Say that the line was not computed."""
        return LineResult(
            place=self._line.place,
            text=answers.unanswered(self._names, ending),
            expired=ending is Ending.EXPIRED,
        )

    def crashed(self) -> LineResult:
        """Say that the line was our undoing."""
        return self._of_job(self._failed(describe(InternalError())))

    def _of_job(self, result: LineResult) -> LineResult:
        """Return a result together with the job whose record it makes superfluous."""
        return replace(result, job=self._names.job)

    def _terms(self, model: str | UnsetType) -> Terms:
        record, name = self._desk.record, self._desk.resolve(model)
        if record.models and name not in record.models:
            raise ModelNotFound(f"no worker serves the model {model or name!r}", param="model")
        return Terms(
            id=self._names.token,
            model=name,
            tenant=record.tenant,
            policy=record.policy,
            deadline_ms=self._desk.deadline_ms,
        )

    async def _ended(self, prepared: Prepared) -> JobRecord:
        pause = 0.1
        while True:
            try:
                return await (await self._submitted(prepared)).ended()
            except MeshError as error:
                if error.code not in _LATER:
                    raise
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _submitted(self, prepared: Prepared) -> JobHandle:
        """Submit the job, unless it is there: its id is that of this line and of no other."""
        jobs = self._desk.jobs
        try:
            return await jobs.submit(
                Submit(
                    request=prepared.infer,
                    id=self._names.job,
                    priority=Priority.LOW,
                    deadline_ms=self._desk.deadline_ms,
                )
            )
        except Conflict:
            return jobs.handle(self._names.job)

    async def _cancelled(self) -> JobRecord | None:
        """Cancel the job, and return it as it then is; ``None`` if there is none to be found."""
        jobs = self._desk.jobs
        try:
            try:
                return await jobs.cancel(self._names.job)
            except Conflict:
                return await jobs.get(self._names.job)
        except MeshError:
            return None

    def _told(self, job: JobRecord, prepared: Prepared) -> LineResult:
        if job.result is not None:
            text = answers.answered(self._names, prepared.compose(job.result))
            if text is None:
                return self._failed(answers.TOO_LONG)
            return LineResult(place=self._line.place, text=text, ok=True)
        if job.state is JobState.CANCELLED or job.error is None:
            return self.give_up(Ending.CANCELLED)
        if job.error.code is FailureCode.DEADLINE_EXCEEDED:
            return self.give_up(Ending.EXPIRED)
        error = job.error
        return self._failed(describe(from_code(error.code, error.message, param=error.param)))

    def _failed(self, problem: Problem) -> LineResult:
        return LineResult(
            place=self._line.place,
            text=answers.failed(self._names, problem, self._desk.kind.names),
        )
