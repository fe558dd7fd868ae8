"""The states of a job and who may change them: the table of ``docs/jobs.md`` as code; pure."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec.structs import replace

from mesh.errors import Conflict
from schemas.jobs import JobRecord, JobState


class Actor(StrEnum):
    """Who changes a job's state."""

    RUNNER = "a runner"
    OWNER = "the runner of the newest attempt"
    TENANT = "anyone of the tenant"
    PERSON = "a person"


TRANSITIONS: Mapping[tuple[JobState, JobState], Actor] = MappingProxyType(
    {
        (JobState.QUEUED, JobState.RUNNING): Actor.RUNNER,
        (JobState.RUNNING, JobState.RUNNING): Actor.RUNNER,
        (JobState.RUNNING, JobState.SUCCEEDED): Actor.OWNER,
        (JobState.RUNNING, JobState.QUEUED): Actor.OWNER,
        (JobState.QUEUED, JobState.FAILED): Actor.RUNNER,
        (JobState.RUNNING, JobState.FAILED): Actor.RUNNER,
        (JobState.QUEUED, JobState.CANCELLED): Actor.TENANT,
        (JobState.RUNNING, JobState.CANCELLED): Actor.TENANT,
        (JobState.FAILED, JobState.QUEUED): Actor.PERSON,
    }
)
"""Every change of state there is; ``running`` to ``running`` is a new attempt."""


def check(old: JobState, new: JobState) -> None:
    """Raise ``Conflict`` for a change of state that does not exist."""
    if (old, new) not in TRANSITIONS:
        raise Conflict(f"the job is {old}, and such a job cannot become {new}")


def queued_again(record: JobRecord, now_ms: int) -> JobRecord:
    """Return a failed job as a new one of its id; raises ``Conflict`` if it has not failed."""
    check(record.state, JobState.QUEUED)
    return replace(
        record,
        state=JobState.QUEUED,
        attempt=record.attempt + 1,
        failures=0,
        deaths=0,
        cloud="",
        error=None,
        notice=None,
        created_ms=now_ms,
        due_ms=0,
        deadline_ms=None,
        started_ms=0,
        ended_ms=0,
    )
