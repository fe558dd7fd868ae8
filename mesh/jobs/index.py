"""The index of jobs: one small row each, found by tenant and state without reading any record.

A row is written beside the change of its record and without waiting: a job is listed a moment
later. The message that a job is due is acknowledged last, so what a crash left out is made up for
when another runner gets that message.
"""

import math

from mesh import jetstream, subjects
from mesh.bus import Bus
from mesh.depot import Depot, number
from mesh.jetstream import DirectGet
from mesh.storage import Store
from schemas.jobs import JobListQuery, JobPage, JobRecord, JobRow, JobState
from schemas.wire import decoder, encode

OPEN = "open"
"""Where rows lie of jobs that are not final; their records tell queued from running."""
LONGEST_PAGE = 500

_rows = decoder(JobRow)


class JobIndex:
    """Rows in the bucket ``Store.JOB_INDEX``."""

    def __init__(self, bus: Bus, timeout: float = 5.0) -> None:
        self._bus, self._bucket = bus, Store.JOB_INDEX
        stream = subjects.bucket_stream(self._bucket)
        self._depot = Depot(bus, stream, "the index of jobs", timeout)

    def enter(self, record: JobRecord, ttl: float | None = None) -> None:
        """Write the row of a job; ``ttl``: seconds until it goes (raises as ``Bus.post``)."""
        headers = {} if ttl is None else {jetstream.TTL: f"{max(1, math.ceil(ttl))}s"}
        self._bus.post(self._subject(record, shelf(record.state)), encode(row(record)), "", headers)

    def erase(self, record: JobRecord, from_shelf: str) -> None:
        """Remove the row of a job from where it lay."""
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", jetstream.TTL: "1s"}
        self._bus.post(self._subject(record, from_shelf), b"", "", headers)

    async def page(self, query: JobListQuery) -> JobPage:
        """Return a tenant's rows in the order of their last change; raises as ``Depot``."""
        state = "*" if query.state is None else shelf(query.state)
        wanted = subjects.job_rows(self._bucket, query.tenant, state)
        limit = max(1, min(query.limit, LONGEST_PAGE))
        start, found, pending = query.after or 1, list[JobRow](), 1
        while pending and len(found) < limit:
            ask = DirectGet(seq=start, next_by_subj=wanted, batch=limit - len(found))
            *entries, end = await self._depot.page(ask)
            found += [_rows.decode(entry.payload) for entry in entries if entry.payload]
            pending = number(end.headers, jetstream.NUM_PENDING) if entries else 0
            start = number(entries[-1].headers, jetstream.SEQUENCE) + 1 if entries else start
        return JobPage(jobs=tuple(found), after=start if pending else 0)

    def _subject(self, record: JobRecord, where: str) -> str:
        return subjects.job_row(self._bucket, record.tenant, where, record.id)


def shelf(state: JobState) -> str:
    """Return where the rows of jobs in a state lie."""
    return state.value if state.final else OPEN


def row(record: JobRecord) -> JobRow:
    """Return what the index says of a job."""
    return JobRow(
        id=record.id,
        tenant=record.tenant,
        model=record.request.model if record.request else "",
        state=record.state,
        priority=record.priority,
        created_ms=record.created_ms,
        ended_ms=record.ended_ms,
        code=record.error.code if record.error else None,
    )
