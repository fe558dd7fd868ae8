"""Durable jobs: what is submitted, what is kept of it, and what is told about it.

``Submit`` is the JSON body on ``mesh.v1.jobs.submit``; the answers are ``JobRecord`` and
``JobPage``, or a ``Failed`` frame. Times that are asked for are milliseconds from now, so that no
client's clock matters; times that are told are milliseconds of the broker's clock since 1970.
"""

from enum import StrEnum

from schemas.failures import FailureCode
from schemas.inference import Completion, InferRequest
from schemas.wire import Message


class JobState(StrEnum):
    """Where a job stands; ``docs/jobs.md`` draws the ways between."""

    QUEUED = "queued"
    """Waits for an idle slot, for its time, or for the end of a back-off."""
    RUNNING = "running"
    """A runner computes it, or vanished less than a lease ago."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A dead letter: kept with its reason until it is retried, dropped or too old."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing but a person changes it any more."""
        return self not in _OPEN


_OPEN = frozenset({JobState.QUEUED, JobState.RUNNING})


class Priority(StrEnum):
    """Which jobs go first, among all that wait for the same model."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Submit(Message, frozen=True, kw_only=True):
    """Asks for a job.

    key: the same key of a tenant is the same job. id: of the job, chosen by a client that wants to
    repeat its question safely without a key; ``job_`` and letters or digits. deadline_ms: until the
    answer must be there, after which it is not computed any more. not_before_ms: until it may run.
    webhook: URL to tell the end to (``schemas.webhooks``). note: a text that is kept with the job
    for whoever submitted it, and means nothing to anybody else.
    """

    request: InferRequest
    tenant: str = "default"
    key: str = ""
    id: str = ""
    priority: Priority = Priority.NORMAL
    deadline_ms: int | None = None
    not_before_ms: int = 0
    webhook: str | None = None
    note: str = ""


class JobError(Message, frozen=True, kw_only=True):
    """Why a job, or its last attempt, failed."""

    code: FailureCode
    message: str
    param: str | None = None


class NoticeState(StrEnum):
    """How far the telling of a job's end has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class NoticeFault(StrEnum):
    """Why a webhook was not told of a job's end."""

    STATUS = "status"
    """It answered with something else than 2xx; redirects are not followed."""
    GONE = "gone"
    """It answered 410, and is not told again."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No such name, no connection, no TLS, or no answer that is HTTP."""
    CERTIFICATE = "certificate"
    """Its certificate is out of date, for another name, or signed by nobody who is trusted."""
    FORBIDDEN = "forbidden"
    """Its address is none that webhooks may have here."""


class JobNotice(Message, frozen=True, kw_only=True):
    """The telling of a job's end to its webhook: tries so far, what came of the last, and when.

    status: what the webhook answered, 0 for nothing. next_ms: when it is tried again.
    """

    state: NoticeState = NoticeState.PENDING
    tries: int = 0
    status: int = 0
    fault: NoticeFault | None = None
    tried_ms: int = 0
    next_ms: int = 0


class JobRecord(Message, frozen=True, kw_only=True):
    """A job as it is kept: the one truth about it.

    attempt: counts executions, and fences them: only the newest may write. failures: executions
    that failed and not merely vanished; max_failures: how many are allowed. deaths: engines that
    died of it. message: number of the message, in its stream, that the newest attempt executes.
    digest: of what was submitted. cloud: why the cloud may compute it, if it may. cloud_attempts:
    how many may have begun there. note: as submitted. notice: of the end of a job that has a
    webhook.
    ``request`` is left out of answers that do not ask for it.
    """

    id: str
    tenant: str
    state: JobState
    request: InferRequest | None = None
    key: str = ""
    digest: str = ""
    priority: Priority = Priority.NORMAL
    attempt: int = 0
    failures: int = 0
    max_failures: int = 5
    deaths: int = 0
    runner: str = ""
    message: int = 0
    cloud: str = ""
    cloud_attempts: int = 0
    created_ms: int = 0
    due_ms: int = 0
    deadline_ms: int | None = None
    started_ms: int = 0
    ended_ms: int = 0
    result: Completion | None = None
    error: JobError | None = None
    webhook: str | None = None
    note: str = ""
    notice: JobNotice | None = None


class JobPointer(Message, frozen=True, kw_only=True):
    """What lies in a work stream: which job is due; the record says whether it still is.

    attempt: the one that this message asks for. deadline_ms: as in the record, so that a look at
    the message is enough to see what is late. telling: which try to tell the job's webhook that it
    ended with this attempt; 0: the message asks for an execution.
    """

    tenant: str
    id: str
    attempt: int = 1
    deadline_ms: int | None = None
    telling: int = 0


class JobKey(Message, frozen=True, kw_only=True):
    """What a tenant's key stands for; ``digest`` is that of what was submitted with it."""

    id: str
    digest: str


class JobRow(Message, frozen=True, kw_only=True):
    """A job in the index: enough to list it."""

    id: str
    tenant: str
    model: str
    state: JobState
    priority: Priority = Priority.NORMAL
    created_ms: int = 0
    ended_ms: int = 0
    code: FailureCode | None = None


class JobEvent(Message, frozen=True, kw_only=True):
    """News of a job, told once and not stored: the record is the truth."""

    id: str
    state: JobState
    attempt: int = 0
    at_ms: int = 0
    tokens: int = 0
    """Pieces of output so far, of a running attempt."""


class JobQuery(Message, frozen=True, kw_only=True):
    """Names a job; ``request``: whether the answer should contain what was asked."""

    id: str
    tenant: str = "default"
    request: bool = False


class JobListQuery(Message, frozen=True, kw_only=True):
    """Asks for a tenant's jobs in the order of their last change; ``after``: of the last page."""

    tenant: str = "default"
    state: JobState | None = None
    limit: int = 100
    after: int = 0


class JobPage(Message, frozen=True, kw_only=True):
    """Some jobs; ``after``: where the next page begins, 0 if there is none."""

    jobs: tuple[JobRow, ...] = ()
    after: int = 0
