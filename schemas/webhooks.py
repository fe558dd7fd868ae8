"""What a webhook is told: the body of the POST that says how a job ended.

The form is that of Standard Webhooks (``type``, ``timestamp``, ``data``) and of OpenAI's webhooks
(``id``, ``object``, ``created_at``) at once, so that the verifiers of both take it.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from schemas.failures import FailureCode
from schemas.jobs import JobState


class EventType(StrEnum):
    """What has happened."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


class EndedJob(msgspec.Struct, frozen=True, kw_only=True):
    """The job: never what was asked, answered or said of an error, which stay where they are.

    ``attempt`` counts executions; times are milliseconds of the broker's clock since 1970.
    """

    id: str
    tenant: str
    key: str
    state: JobState
    attempt: int
    created_ms: int
    started_ms: int
    ended_ms: int
    code: FailureCode | None


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The body; ``id`` is the same however often the end is told, and another one for another end.

    created_at: seconds since 1970 at which the job ended; ``timestamp`` says the same in RFC 3339.
    """

    id: str
    object: Literal["event"] = "event"
    type: EventType
    created_at: int
    timestamp: str
    data: EndedJob
