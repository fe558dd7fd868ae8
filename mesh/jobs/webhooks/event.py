"""From the record of a job that has ended to what its webhook is told; pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from types import MappingProxyType

import msgspec

from schemas.jobs import JobRecord, JobState
from schemas.webhooks import EndedJob, EventType, WebhookEvent

TYPES: Mapping[JobState, EventType] = MappingProxyType(
    {
        JobState.SUCCEEDED: EventType.SUCCEEDED,
        JobState.FAILED: EventType.FAILED,
        JobState.CANCELLED: EventType.CANCELLED,
    }
)


def event_of(record: JobRecord) -> WebhookEvent:
    """Return the news of a job that is final."""
    ended = datetime.fromtimestamp(record.ended_ms / 1000, UTC)
    return WebhookEvent(
        id=_event_id(record),
        type=TYPES[record.state],
        created_at=record.ended_ms // 1000,
        timestamp=ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        data=EndedJob(
            id=record.id,
            tenant=record.tenant,
            key=record.key,
            state=record.state,
            attempt=record.attempt,
            created_ms=record.created_ms,
            started_ms=record.started_ms,
            ended_ms=record.ended_ms,
            code=record.error.code if record.error else None,
        ),
    )


def body_of(event: WebhookEvent) -> bytes:
    """Return the body; the same for the same event, since receivers may compare."""
    return msgspec.json.encode(event)


def _event_id(record: JobRecord) -> str:
    """Name an end: a job that failed and is tried again ends anew, with a higher attempt.

    Ids of jobs are a tenant's own; those of events must differ at a receiver that many share.
    """
    end = f"{record.tenant}/{record.id}/{record.attempt}".encode()
    return f"evt_{blake2b(end, digest_size=16).hexdigest()}"
