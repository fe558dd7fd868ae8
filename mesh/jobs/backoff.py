"""What a failed attempt means for its job: again, after how long, or never; pure."""

import random
from dataclasses import dataclass

from msgspec.structs import replace

from mesh.errors import MeshError
from schemas.failures import REQUEST_FAULTS, FailureCode
from schemas.inference import Policy
from schemas.jobs import JobError, JobRecord, JobState

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
MAX_DEATHS = 2
"""Engines that may die of a job before it is quarantined."""
MAX_TAKEOVERS = 10
"""Runners that may vanish with a job before it is quarantined."""

FINAL = (REQUEST_FAULTS - {FailureCode.MODEL_NOT_FOUND}) | {
    FailureCode.QUARANTINED,
    FailureCode.PERMISSION_DENIED,
    FailureCode.UPSTREAM_AUTH,
}
"""Failures that a repetition cannot mend. A model that nobody serves may come."""

DEADLY = frozenset({FailureCode.ENGINE_CRASHED, FailureCode.OUT_OF_MEMORY})


@dataclass(frozen=True)
class Verdict:
    """The job after a failed attempt, and the seconds until it is due again (0 if never)."""

    record: JobRecord
    pause: float = 0.0


def judge(record: JobRecord, error: MeshError, jitter: float = 0.5) -> Verdict:
    """Return what becomes of a running job whose attempt failed.

    ``jitter``: from 0 to 1, where between half and all of the pause is taken.
    """
    record = replace(
        record,
        failures=record.failures + 1,
        deaths=record.deaths + (error.code in DEADLY),
        error=JobError(code=error.code, message=error.message, param=error.param),
        runner="",
    )
    if record.deaths >= MAX_DEATHS:
        return Verdict(_quarantined(record, f"{record.deaths} engines died of this job"))
    if error.code in FINAL or record.failures >= record.max_failures or is_stranded(record):
        return Verdict(replace(record, state=JobState.FAILED))
    wanted = error.retry_after or pause(record.failures, jitter)
    return Verdict(replace(record, state=JobState.QUEUED), min(wanted, LONGEST_PAUSE))


def may_use_cloud(record: JobRecord) -> bool:
    """Tell whether another attempt may begin in the cloud, as far as their number goes."""
    allowed = None if record.request is None else record.request.cloud_attempts
    return allowed is None or record.cloud_attempts < allowed


def is_stranded(record: JobRecord) -> bool:
    """Tell whether a job is for the cloud alone and may not begin there once more."""
    request = record.request
    is_clouds = request is not None and request.policy is Policy.CLOUD_ONLY
    return is_clouds and not may_use_cloud(record)


def given_up(record: JobRecord) -> JobRecord:
    """Return a job that is stranded, as it ends: with its last error, if there is one."""
    message = "its attempts in the cloud are used up; what became of the last is not known"
    error = record.error or JobError(code=FailureCode.WORKER_LOST, message=message)
    return replace(record, state=JobState.FAILED, error=error, runner="")


def taken_over(record: JobRecord) -> JobRecord:
    """Return a running job whose runner vanished, as it goes on: to be run again, or not."""
    if is_stranded(record):
        return given_up(record)
    if record.attempt - record.failures >= MAX_TAKEOVERS:
        return _quarantined(record, f"{MAX_TAKEOVERS} runners vanished with this job")
    return record


def pause(failures: int, jitter: float | None = None) -> float:
    """Return the seconds to wait after so many failures: 1, 2, 4 … 60, less up to a half."""
    doublings = min(failures - 1, 16)
    longest = min(FIRST_PAUSE * 2.0**doublings, LONGEST_PAUSE)
    share = random.random() if jitter is None else jitter  # noqa: S311 - jitter
    return longest * (0.5 + share / 2)


def _quarantined(record: JobRecord, why: str) -> JobRecord:
    error = JobError(code=FailureCode.QUARANTINED, message=f"{why}; it is not tried again")
    return replace(record, state=JobState.FAILED, error=error, runner="")
