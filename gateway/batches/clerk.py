"""From one line to its result: translated, computed as one or several jobs, translated back."""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import UnsetType

from gateway.batches import answers
from gateway.batches.answers import Ending, Names
from gateway.batches.assignment import Assignment
from gateway.batches.desk import Desk
from gateway.batches.kinds import Prepared
from gateway.batches.lines import Line
from gateway.batches.parts import LineResult
from gateway.problems import Problem, describe
from gateway.translate import Terms
from mesh.errors import InternalError, MeshError, ModelNotFound, from_code
from schemas.failures import FailureCode
from schemas.jobs import JobRecord, JobState


class Clerk:
    """Sees to one line.

    Several prompts are several jobs, and one answer. Which ids they have follows from the line, so
    whoever sees to it again finds them; the line is committed as a whole or not at all.
    """

    def __init__(self, desk: Desk, line: Line) -> None:
        self._desk, self._line = desk, line
        self._names = Names.of(desk.record.id, line.custom_id)
        self._known: Prepared | None = None
        self._jobs: Sequence[Assignment] = ()

    @property
    def place(self) -> int:
        """The line's place, as in ``Line``."""
        return self._line.place

    @property
    def jobs(self) -> int:
        """How many jobs the line takes; one that is refused takes none."""
        try:
            return len(self._prepared().requests)
        except MeshError:
            return 0

    async def answer(self) -> LineResult:
        """Have the line computed, and wait for that; it takes as long as it takes."""
        try:
            self._assign()
        except MeshError as error:
            return self._failed(describe(error))
        try:
            await self._fund()
            result = self._told(await self._records())
        except MeshError as error:
            result = self._failed(describe(error))
        if not result.ok:
            await self._withdrawn()
        return self._of_jobs(result)

    async def withdraw(self, ending: Ending) -> LineResult:
        """Have the line computed no more; one that was computed already is answered."""
        try:
            self._assign()
        except MeshError as error:
            return self._failed(describe(error))
        found = await self._withdrawn()
        records = [job for job in found if job is not None and job.state is not JobState.CANCELLED]
        whole = len(records) == len(found)
        return self._of_jobs(self._told(records) if whole else self.give_up(ending))

    def give_up(self, ending: Ending) -> LineResult:
        """Say that the line was not computed."""
        return LineResult(
            place=self._line.place,
            text=answers.unanswered(self._names, ending),
            expired=ending is Ending.EXPIRED,
        )

    def crashed(self) -> LineResult:
        """Say that the line was our undoing."""
        return self._of_jobs(self._failed(describe(InternalError())))

    def _of_jobs(self, result: LineResult) -> LineResult:
        """Return a result together with the jobs whose records it makes superfluous."""
        jobs = tuple(job.id for job in self._jobs)
        bills = tuple(bill for job in self._jobs for bill in job.bills())
        return replace(result, jobs=jobs, bills=bills)

    def _assign(self) -> None:
        """Make jobs of the line, unless there are some; raises ``MeshError``."""
        if not self._jobs:
            requests = self._prepared().requests
            jobs = zip(self._names.jobs(len(requests)), requests, strict=True)
            self._jobs = [Assignment(self._desk, job, request) for job, request in jobs]

    def _prepared(self) -> Prepared:
        """Return what the line asks for; raises ``MeshError``."""
        if self._known is None:
            self._known = self._desk.kind.prepare(self._line.body, self._terms)
        return self._known

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

    async def _fund(self) -> None:
        """Set aside what jobs may cost that are not there yet, if the key has a budget."""
        purse = self._desk.purse
        if purse is None:
            return
        new = [job for job in self._jobs if not await job.exists()]
        funded = await purse.fund(self.place, [job.request for job in new])
        for job, terms in zip(new, funded, strict=True):
            job.fund(terms)

    async def _records(self) -> list[JobRecord]:
        """Return the ends of the jobs in their order, up to the first that brings no answer."""
        for job in self._jobs:
            await job.submit()
        records: list[JobRecord] = []
        for job in self._jobs:
            records.append(await job.ended())
            if records[-1].result is None:
                break
        return records

    async def _withdrawn(self) -> list[JobRecord | None]:
        return [await job.withdraw() for job in self._jobs]

    def _told(self, records: Sequence[JobRecord]) -> LineResult:
        completions = [job.result for job in records if job.result is not None]
        if len(completions) < len(records):
            return self._fruitless(next(job for job in records if job.result is None))
        text = answers.answered(self._names, self._prepared().compose(completions))
        if text is None:
            return self._failed(answers.TOO_LONG)
        return LineResult(place=self._line.place, text=text, ok=True)

    def _fruitless(self, job: JobRecord) -> LineResult:
        error = job.error
        if job.state is JobState.CANCELLED or error is None:
            return self.give_up(Ending.CANCELLED)
        if error.code is FailureCode.DEADLINE_EXCEEDED:
            return self.give_up(Ending.EXPIRED)
        return self._failed(describe(from_code(error.code, error.message, param=error.param)))

    def _failed(self, problem: Problem) -> LineResult:
        return LineResult(
            place=self._line.place,
            text=answers.failed(self._names, problem, self._desk.kind.names),
        )
