"""Everything that can go wrong, as exceptions.

::

    MeshError                      code, message, param, retry_after
    ├── RequestError               the request's own fault; trying elsewhere is useless
    │   ├── InvalidRequest
    │   ├── Unsupported
    │   ├── ModelNotFound
    │   ├── JobNotFound
    │   ├── ContextLengthExceeded
    │   ├── PayloadTooLarge
    │   ├── UpstreamRejected
    │   ├── DeadlineExceeded
    │   └── Cancelled
    ├── Refused                    a worker declined before doing any work
    │   ├── Busy
    │   ├── Draining
    │   ├── BreakerOpen
    │   └── BudgetExhausted
    ├── CapacityError              nobody can take the request now
    │   ├── QueueFull
    │   └── NoCapacity
    ├── AttemptFailed              work had begun and was lost
    │   ├── WorkerLost
    │   ├── LineLost
    │   ├── EngineCrashed
    │   ├── OutOfMemory
    │   ├── Quarantined
    │   └── InternalError
    ├── UpstreamError              the HTTP upstream of a worker misbehaved
    │   ├── UpstreamRateLimited
    │   ├── UpstreamAuth
    │   ├── UpstreamTimeout
    │   └── UpstreamMalformed
    ├── BusError
    │   ├── PermissionDenied
    │   ├── NoResponders
    │   └── BusUnavailable
    └── StoreError                 what is stored at the broker
        ├── StoreFull
        └── Conflict

The code travels on the wire; ``from_code`` turns it back into the exception. Nothing ever matches
on message text.
"""

from typing import ClassVar, Final

from schemas.failures import FailureCode


class MeshError(Exception):
    """The mesh could not do what it was asked."""

    code: ClassVar[FailureCode] = FailureCode.INTERNAL

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """``param``: the field at fault; ``retry_after``: seconds until a retry may help."""
        self.message = message or (type(self).__doc__ or "").split("\n", 1)[0]
        self.param = param
        self.retry_after = retry_after
        super().__init__(self.message)


class RequestError(MeshError):
    """The request cannot be answered by any worker."""

    code = FailureCode.INVALID_REQUEST


class InvalidRequest(RequestError):
    """The request is not valid."""


class Unsupported(RequestError):
    """No worker of this model supports what the request asks for."""

    code = FailureCode.UNSUPPORTED


class ModelNotFound(RequestError):
    """No worker serves this model."""

    code = FailureCode.MODEL_NOT_FOUND


class JobNotFound(RequestError):
    """There is no such job."""

    code = FailureCode.JOB_NOT_FOUND


class ContextLengthExceeded(RequestError):
    """The prompt does not fit the model's context."""

    code = FailureCode.CONTEXT_LENGTH_EXCEEDED


class PayloadTooLarge(RequestError):
    """The request is larger than the bus carries."""

    code = FailureCode.PAYLOAD_TOO_LARGE


class UpstreamRejected(RequestError):
    """The upstream refused the request as invalid."""

    code = FailureCode.UPSTREAM_REJECTED


class DeadlineExceeded(RequestError):
    """The request's deadline passed."""

    code = FailureCode.DEADLINE_EXCEEDED


class Cancelled(RequestError):
    """The request was cancelled."""

    code = FailureCode.CANCELLED


class Refused(MeshError):
    """The worker declined the attempt."""

    code = FailureCode.BUSY


class Busy(Refused):
    """All slots of the worker are taken."""


class Draining(Refused):
    """The worker is shutting down and takes nothing new."""

    code = FailureCode.DRAINING


class BreakerOpen(Refused):
    """The upstream failed repeatedly and is left alone for a while."""

    code = FailureCode.BREAKER_OPEN


class BudgetExhausted(Refused):
    """The spending limit of the cloud worker is reached."""

    code = FailureCode.BUDGET_EXHAUSTED


class CapacityError(MeshError):
    """No worker can take the request now."""

    code = FailureCode.NO_CAPACITY


class QueueFull(CapacityError):
    """Too many requests are waiting for this model."""

    code = FailureCode.QUEUE_FULL


class NoCapacity(CapacityError):
    """No worker that may take the request is up."""


class AttemptFailed(MeshError):
    """The attempt was lost after work had begun."""

    code = FailureCode.WORKER_LOST


class WorkerLost(AttemptFailed):
    """The worker vanished before the answer was complete."""


class LineLost(AttemptFailed):
    """The connection to the broker broke while the answer was on its way."""

    code = FailureCode.LINE_LOST


class EngineCrashed(AttemptFailed):
    """The engine process died before the answer was complete."""

    code = FailureCode.ENGINE_CRASHED


class OutOfMemory(AttemptFailed):
    """The worker ran out of memory."""

    code = FailureCode.OUT_OF_MEMORY


class Quarantined(AttemptFailed):
    """The request brought down more than one worker and is not tried again."""

    code = FailureCode.QUARANTINED


class InternalError(AttemptFailed):
    """The worker failed unexpectedly; its log has the details."""

    code = FailureCode.INTERNAL


class UpstreamError(MeshError):
    """The upstream failed."""

    code = FailureCode.UPSTREAM_ERROR


class UpstreamRateLimited(UpstreamError):
    """The upstream's rate limit is reached."""

    code = FailureCode.UPSTREAM_RATE_LIMITED


class UpstreamAuth(UpstreamError):
    """The upstream refused the cloud worker's API key."""

    code = FailureCode.UPSTREAM_AUTH


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    code = FailureCode.UPSTREAM_TIMEOUT


class UpstreamMalformed(UpstreamError):
    """The upstream's answer was cut short or malformed."""

    code = FailureCode.UPSTREAM_MALFORMED


class BusError(MeshError):
    """The bus failed."""

    code = FailureCode.BUS_UNAVAILABLE


class PermissionDenied(BusError):
    """The broker forbids these credentials to use this subject."""

    code = FailureCode.PERMISSION_DENIED


class NoResponders(BusError):
    """Nobody listens on this subject."""

    code = FailureCode.NO_RESPONDERS


class BusUnavailable(BusError):
    """There is no connection to the broker."""


class StoreError(MeshError):
    """The broker stores nothing: JetStream is off there, or what is asked for was never made."""

    code = FailureCode.STORE_UNAVAILABLE


class StoreFull(StoreError):
    """There is no room left at the broker for what should be stored."""

    code = FailureCode.STORE_FULL


class Conflict(StoreError):
    """Somebody else has changed the entry meanwhile, or made it first."""

    code = FailureCode.CONFLICT


COSTLESS: Final = (Refused, UpstreamRateLimited, UpstreamAuth, UpstreamRejected)
"""How an attempt in the cloud ends that nobody charges for: it was turned away before any work."""


def _leaves(kind: type[MeshError]) -> list[type[MeshError]]:
    return [kind, *(leaf for sub in kind.__subclasses__() for leaf in _leaves(sub))]


_by_code: dict[FailureCode, type[MeshError]] = {kind.code: kind for kind in _leaves(MeshError)}


def from_code(
    code: FailureCode,
    message: str,
    *,
    param: str | None = None,
    retry_after: float | None = None,
) -> MeshError:
    """Return the exception that a failure code stands for."""
    return _by_code[code](message, param=param, retry_after=retry_after)
