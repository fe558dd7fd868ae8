"""Telling whoever listens what became of a job."""

from mesh import subjects
from mesh.bus import Bus
from schemas.jobs import JobEvent, JobRecord
from schemas.wire import encode


def tell(bus: Bus, record: JobRecord, now_ms: int) -> None:
    """Publish the state of a job (raises as ``Bus.post``)."""
    event = JobEvent(id=record.id, state=record.state, attempt=record.attempt, at_ms=now_ms)
    bus.post(subjects.job_event(record.tenant, record.id), encode(event))
