"""A batch as it is kept, and every change of it that there is. Pure.

Each change is one compare-and-set on the record; ``driver`` fences it: a gateway that was away
while another one took the batch over finds another mark there, and stops.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from gateway.batches.parts import Checkpoint
from gateway.files.kept import FileRecord
from gateway.problems import HttpError
from gateway.stored import Records
from schemas.inference import Policy
from schemas.openai.batches import Batch, BatchError, BatchErrors, BatchStatus, RequestCounts
from schemas.wire import Message

_ID: Final = re.compile("batch_[A-Za-z0-9]{1,64}")

S = BatchStatus
WAYS: Final[Mapping[BatchStatus, frozenset[BatchStatus]]] = MappingProxyType(
    {
        S.VALIDATING: frozenset({S.IN_PROGRESS, S.FAILED, S.CANCELLING}),
        S.IN_PROGRESS: frozenset({S.FINALIZING, S.CANCELLING, S.FAILED}),
        S.FINALIZING: frozenset({S.COMPLETED, S.EXPIRED, S.FAILED}),
        S.CANCELLING: frozenset({S.CANCELLED, S.FAILED}),
    }
)
"""Every change of status there is."""


class BatchRecord(Message, frozen=True, kw_only=True):
    """A batch: what clients see of it, and what driving it takes.

    created_ms: milliseconds since 1970. policy, models: what the API key allowed when the batch was
    made (no models: all). key, cloud_usd_per_day: the id of a key with a budget for the cloud, and
    that. file: that its requests are read from. output_life: seconds for which
    what it gives is kept, ``None`` for ever. driver: the mark of whoever drives it. parts: how many
    are committed. expired: requests that were not computed in time. drafts: ids of output and
    errors, which the driver writes or one before it left behind.
    """

    batch: Batch
    tenant: str
    created_ms: int
    policy: Policy
    models: tuple[str, ...] = ()
    key: str = ""
    cloud_usd_per_day: float | None = None
    file: FileRecord
    output_life: int | None = None
    driver: str = ""
    parts: int = 0
    expired: int = 0
    drafts: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id that clients know."""
        return self.batch.id

    @property
    def status(self) -> BatchStatus:
        """Where the batch stands."""
        return self.batch.status


BATCHES: Final = Records(BatchRecord)


class BatchNotFound(HttpError):
    """The tenant has no such batch."""

    status = 404
    code = "batch_not_found"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"No batch found with id '{batch_id[:100]}'.", param="id")


class BatchHasEnded(HttpError):
    """The batch has come too far to be cancelled."""

    status = 409
    code = "batch_not_cancellable"


def is_id(text: str) -> bool:
    """Tell whether a text from outside can be an id at all, and so may enter a key."""
    return _ID.fullmatch(text) is not None


def taken(record: BatchRecord, driver: str) -> BatchRecord:
    """Return a batch that somebody else drives from now on."""
    return replace(record, driver=driver)


def refused(record: BatchRecord, errors: tuple[BatchError, ...], now: int) -> BatchRecord:
    """Return a batch whose file is wrong."""
    found = BatchErrors(data=errors)
    return _moved(record, S.FAILED, errors=found, failed_at=now)


def begun(record: BatchRecord, total: int, now: int) -> BatchRecord:
    """Return a batch whose file is right."""
    counts = RequestCounts(total=total)
    return _moved(record, S.IN_PROGRESS, in_progress_at=now, request_counts=counts)


def counted(record: BatchRecord, number: int, checkpoint: Checkpoint) -> BatchRecord:
    """Return a batch of which one more part is committed."""
    counts = replace(
        record.batch.request_counts, completed=checkpoint.completed, failed=checkpoint.failed
    )
    batch = replace(record.batch, request_counts=counts)
    return replace(record, batch=batch, parts=number, expired=checkpoint.expired)


def cancelling(record: BatchRecord, now: int) -> BatchRecord:
    """Return a batch that is to be cancelled; raises ``BatchHasEnded`` if it is too late."""
    if record.status is S.CANCELLING:
        return record
    if S.CANCELLING not in WAYS.get(record.status, ()):
        raise BatchHasEnded(f"Cannot cancel a batch with status '{record.status}'.")
    return _moved(record, S.CANCELLING, cancelling_at=now)


def finalizing(record: BatchRecord, now: int) -> BatchRecord:
    """Return a batch whose requests are all answered; one that is cancelled is called so on."""
    if record.status in (S.CANCELLING, S.FINALIZING):
        return record
    return _moved(record, S.FINALIZING, finalizing_at=now)


def drafted(record: BatchRecord, output: str, errors: str) -> BatchRecord:
    """Return a batch whose files are written under these ids from now on."""
    return replace(record, drafts=(output, errors))


def ended(record: BatchRecord, output: str | None, errors: str | None, now: int) -> BatchRecord:
    """Return a batch whose output is written; ``output``, ``errors``: the files' ids."""
    if record.status is S.CANCELLING:
        end, at = S.CANCELLED, {"cancelled_at": now}
    elif record.expired:
        end, at = S.EXPIRED, {"expired_at": now}
    else:
        end, at = S.COMPLETED, {"completed_at": now}
    return _moved(record, end, output_file_id=output, error_file_id=errors, **at)


def _moved(record: BatchRecord, status: BatchStatus, **fields: object) -> BatchRecord:
    if status not in WAYS.get(record.status, ()):
        raise ValueError(f"a batch that is {record.status} cannot become {status}")
    return replace(record, batch=replace(record.batch, status=status, **fields))
