"""What is looked at before a job is taken in."""

import re
from collections.abc import Callable, Collection

from mesh import admission
from mesh.errors import InvalidRequest, PayloadTooLarge, StoreFull
from mesh.jobs.room import Room
from mesh.jobs.settings import JobSettings
from mesh.subjects import MAX_TOKEN, JobSide, encode_token
from schemas.inference import InferRequest, Policy
from schemas.jobs import Submit
from schemas.wire import encode

LONGEST_WAIT_MS = 365 * 86_400_000
LONGEST_NOTE = 1024
"""Characters."""
_ID = re.compile(r"job_[A-Za-z0-9]{8,64}")

CheckWebhook = Callable[[str], None]
"""Raises ``InvalidRequest`` for a URL to which the ends of jobs cannot be told."""


def side_of(request: InferRequest) -> JobSide:
    """Return which runners may read a job."""
    return JobSide.EDGE if request.policy is Policy.EDGE_ONLY else JobSide.ANY


def no_webhooks(_url: str) -> None:
    """Refuse every webhook."""
    raise InvalidRequest(
        "webhooks are not told here: the runner has no secret to sign with "
        "(--webhook-secret-env or --webhook-secret-file)",
        param="webhook",
    )


class Door:
    """Refuses what cannot be run or kept."""

    def __init__(
        self,
        settings: JobSettings,
        sides: Collection[JobSide],
        room: Room,
        queued: Callable[[JobSide], int],
        check_webhook: CheckWebhook,
    ) -> None:
        """``queued``: how many jobs are known to wait on a side."""
        self._settings, self._sides, self._room = settings, sides, room
        self._queued, self._check_webhook = queued, check_webhook

    def check(self, order: Submit) -> int:
        """Let a job in and return its size in bytes.

        Raises ``InvalidRequest``, ``PayloadTooLarge`` or ``StoreFull``.
        """
        admission.check(order.request)
        self._check_names(order)
        _check_times(order)
        if order.webhook is not None:
            self._check_webhook(order.webhook)
        side = side_of(order.request)
        if side not in self._sides:
            raise InvalidRequest("from here only edge-only jobs are taken", param="policy")
        size = len(encode(order))
        self._check_room(side, size)
        return size

    def _check_names(self, order: Submit) -> None:
        for field, name in (("tenant", order.tenant), ("request.model", order.request.model)):
            _check_name(field, name)
        if order.key:
            _check_name("key", f"{order.tenant}/{order.key}")
        if order.id and not _ID.fullmatch(order.id):
            raise InvalidRequest("an id is job_ and 8 to 64 letters or digits", param="id")
        if len(order.note) > LONGEST_NOTE:
            raise InvalidRequest(f"a note has up to {LONGEST_NOTE} characters", param="note")

    def _check_room(self, side: JobSide, size: int) -> None:
        if size > self._settings.max_request:
            raise PayloadTooLarge(
                f"the job has {size} bytes, {self._settings.max_request} are taken", param="request"
            )
        if self._queued(side) >= self._settings.max_queued:
            raise StoreFull(
                f"{self._settings.max_queued} jobs wait already; retry later", retry_after=5.0
            )
        self._room.take(size)


def _check_times(order: Submit) -> None:
    if not 0 <= order.not_before_ms <= LONGEST_WAIT_MS:
        raise InvalidRequest("a job may wait for up to a year", param="not_before_ms")
    if order.deadline_ms is not None and not 0 < order.deadline_ms <= LONGEST_WAIT_MS:
        raise InvalidRequest("a deadline is 1 ms to a year ahead", param="deadline_ms")


def _check_name(field: str, name: str) -> None:
    try:
        encode_token(name)
    except ValueError:
        raise InvalidRequest(
            f"{field} has 1 to {MAX_TOKEN} bytes, percent-encoded", param=field
        ) from None
