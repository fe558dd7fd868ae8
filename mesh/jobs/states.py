"""The states of a job and who may change them: the table of ``docs/jobs.md`` as code; pure."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from mesh.errors import Conflict
from schemas.jobs import JobState


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
