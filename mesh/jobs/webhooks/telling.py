"""One try to tell one webhook: the record says whether it is still due, and what came of it.

The message stays in the stream until the next one, if there must be one, is stored and the record
is written. Whoever dies before that has the webhook told once more; nobody can make it told never.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from mesh.clock import Clock, monotonic
from mesh.errors import Conflict, MeshError
from mesh.jobs.desk import Storage
from mesh.jobs.insist import insist
from mesh.jobs.store import Kept
from mesh.jobs.streams import Work, WorkStream
from mesh.jobs.webhooks.outcome import Outcome, judge
from schemas.jobs import JobNotice, JobRecord, NoticeState

log = structlog.get_logger("mesh.jobs.webhooks")

Tell = Callable[[str, JobRecord, int], Awaitable[Outcome]]
"""Posts the end of a job to a URL at a time of the broker's clock."""


@dataclass(frozen=True, kw_only=True)
class Office:
    """What tries work with; pauses: seconds between them."""

    storage: Storage
    stream: WorkStream
    tell: Tell
    pauses: tuple[float, ...]
    clock: Clock = monotonic


class Telling:
    """A message that a webhook is due, and what is made of it."""

    def __init__(self, office: Office, work: Work) -> None:
        self.work = work
        self._office = office

    async def run(self) -> None:
        """Tell the webhook if it is due, and settle the message; raises ``MeshError``."""
        store, pointer = self._office.storage.store, self.work.pointer
        kept = await store.peek(pointer.tenant, pointer.id)
        if kept is None or not self._is_due(kept.record):
            # A server that lags behind knows nothing of this end: the leader does.
            kept = await store.newest(pointer.tenant, pointer.id)
        if kept is None or not self._is_due(kept.record):
            self._office.stream.acknowledge(self.work)
        else:
            await self._tell(kept.record)

    def _is_due(self, record: JobRecord) -> bool:
        """Tell whether this end, and not a later one, waits for this try, and not a later one."""
        pointer, notice = self.work.pointer, record.notice
        return (
            record.attempt == pointer.attempt
            and notice is not None
            and notice.state is NoticeState.PENDING
            and notice.tries < pointer.telling
        )

    async def _tell(self, record: JobRecord) -> None:
        office, tries = self._office, self.work.pointer.telling
        assert record.webhook is not None, "who has a notice has a webhook"  # noqa: S101
        outcome = await office.tell(record.webhook, record, office.storage.clock.now_ms())
        notice = judge(tries, outcome, office.storage.clock.now_ms(), office.pauses)
        _log(record, notice)
        if notice.state is NoticeState.PENDING:
            again = replace(self.work.pointer, telling=tries + 1)
            await insist(lambda: office.stream.publish_notice(again, notice.next_ms), office.clock)
        try:
            await insist(lambda: self._note(notice), office.clock)
        except MeshError as error:
            # To leave the message would be to tell the webhook again and again.
            log.warning("webhook.unnoted", job=record.id, code=str(error.code))
        office.stream.acknowledge(self.work)

    async def _note(self, notice: JobNotice) -> None:
        """Write into the record what came of the try, unless the record has moved on."""
        store, pointer = self._office.storage.store, self.work.pointer
        for read in (store.peek, store.newest, store.newest):
            kept = await read(pointer.tenant, pointer.id)
            if kept is None or not self._is_due(kept.record):
                continue
            with suppress(Conflict):
                await store.change(kept, replace(kept.record, notice=notice), self._age(kept))
                return

    def _age(self, kept: Kept) -> float:
        return max(0.0, (self._office.storage.clock.now_ms() - kept.record.ended_ms) / 1000)


def _log(record: JobRecord, notice: JobNotice) -> None:
    write = log.warning if notice.state is NoticeState.GIVEN_UP else log.info
    fault = str(notice.fault) if notice.fault else ""
    told = {"tries": notice.tries, "status": notice.status, "fault": fault}
    write(f"webhook.{notice.state}", job=record.id, **told)
