"""``/v1/batches``: many requests in a file, answered in files."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from schemas.openai import Body
from schemas.openai.files import ExpiresAfter
from schemas.openai.metadata import Metadata

WINDOW = "24h"
"""The one completion window there is."""


class BatchStatus(StrEnum):
    """Where a batch stands."""

    VALIDATING = "validating"
    """Its file is read; nothing is computed yet."""
    FAILED = "failed"
    """Its file is wrong: ``errors`` says where."""
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    """All is computed, and its output is written."""
    COMPLETED = "completed"
    EXPIRED = "expired"
    """Not all was computed within the window."""
    CANCELLING = "cancelling"
    """What is computed is cancelled, and what there is gets written."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing changes it any more."""
        return self in _FINAL


_FINAL = frozenset(
    {BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
)


class BatchRequest(Body, frozen=True, kw_only=True):
    """Asks for the requests in a file to be answered."""

    input_file_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    completion_window: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchError(Body, frozen=True, kw_only=True):
    """Something that is wrong in a batch's file; ``line`` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(Body, frozen=True, kw_only=True):
    """What is wrong in a batch's file."""

    object: Literal["list"] = "list"
    data: tuple[BatchError, ...]


class RequestCounts(Body, frozen=True, kw_only=True):
    """How many requests a batch has, and how many were answered either way so far."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(Body, frozen=True, kw_only=True):
    """A batch; times in Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    metadata: dict[str, str] | None = None


class BatchList(Body, frozen=True, kw_only=True):
    """A page of batches, the newest first."""

    object: Literal["list"] = "list"
    data: tuple[Batch, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputLine(Body, frozen=True, kw_only=True):
    """A line of a batch's file, as far as it has to be understood at first."""

    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw(b"")


class InputBody(Body, frozen=True, kw_only=True):
    """What is checked of a line's body before any of the lines is computed."""

    model: Any = msgspec.UNSET
    stream: Any = None


class LineResponse(Body, frozen=True, kw_only=True):
    """How a request was answered; ``body`` is what HTTP would have given, failures included."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class LineError(Body, frozen=True, kw_only=True):
    """Why a request was never answered."""

    code: str
    message: str


class OutputLine(Body, frozen=True, kw_only=True):
    """A line of what a batch gives."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None
