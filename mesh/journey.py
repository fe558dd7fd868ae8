"""What one request has been through: its demand, its attempts and what went wrong on the way."""

from mesh.demand import Demand, Line
from mesh.errors import (
    COSTLESS,
    AttemptFailed,
    BreakerOpen,
    BudgetExhausted,
    BusError,
    BusUnavailable,
    DeadlineExceeded,
    EngineCrashed,
    LineLost,
    MeshError,
    PermissionDenied,
    Quarantined,
    Refused,
    RequestError,
    WorkerLost,
)
from mesh.resume import Trail
from mesh.seats import Node
from schemas.fleet import Tier

MAX_ATTEMPTS = 3
"""Tries that began to compute; more would only spread whatever kills them."""
MAX_DEATHS = 2
"""Workers or engines that may die on one request before it is quarantined."""
PATIENCE_FOR_ABSENT = 10.0
"""Seconds a request waits for a model whose workers have all gone."""
MAX_DECLINED = 50
"""Refusals after which a request gives up, so that no bug can make it spin."""


class Journey:
    """Retries are decided here and nowhere else: one layer, with a budget."""

    def __init__(self, demand: Demand, deadline: float, cloud_attempts: int | None = None) -> None:
        """``cloud_attempts``: how many may begin in the cloud."""
        self.demand = demand
        self.deadline = deadline
        self._cloud_attempts = cloud_attempts
        self.visible = False
        """Output has reached the client: nothing can be taken back."""
        self.last_error: MeshError | None = None
        self.overdue_at = self.absent_until = deadline
        """When the wait for the edge, or for a vanished model, has lasted long enough."""
        self._attempts = 0
        self._deaths = 0
        self._declined = 0

    def begin_wait(self, now: float, share: float, longest: float) -> None:
        """Note the first time that the request stands in line; ``share`` is of its deadline."""
        if self.demand.line is Line.ARRIVING:
            self.demand.line = Line.WAITING
            self.overdue_at = now + min((self.deadline - now) * share, longest)
            self.absent_until = now + PATIENCE_FOR_ABSENT

    def is_absent(self, now: float, *, present: bool) -> bool:
        """Tell whether the model has been gone for too long; ``present``: someone serves it."""
        if present:
            self.absent_until = now + PATIENCE_FOR_ABSENT
        return now >= self.absent_until

    def after(self, error: MeshError, node: Node, trail: Trail | None = None) -> None:
        """Note a failed attempt; raises if the request must not be tried again.

        With a ``trail`` that can be followed the next attempt goes on where this one stopped.
        """
        if isinstance(error, RequestError | PermissionDenied | BusUnavailable):
            raise error
        if isinstance(error, Refused | BusError):
            self._after_refusal(error, node)
            return
        self._attempts += 1
        follows = trail is not None and trail.can_be_followed
        if isinstance(error, WorkerLost | EngineCrashed):
            self._deaths += 1
        if (self.visible and not follows) or isinstance(error, Quarantined):
            raise error
        if self._deaths >= MAX_DEATHS:
            raise Quarantined(
                f"{self._deaths} workers died on this request; it is not tried again"
            ) from error
        if self._attempts >= MAX_ATTEMPTS or not self._may_go_on(error, node):
            raise error
        self.last_error = error
        self.demand.digest = trail.digest if trail is not None and follows else ""
        if not isinstance(error, LineLost):
            self._exclude(error, node)

    def out_of_time(self) -> MeshError:
        """Return the error of a request whose deadline passed while it waited."""
        if isinstance(self.last_error, AttemptFailed):
            return self.last_error
        return DeadlineExceeded("the deadline passed while the request waited for a free slot")

    def _may_go_on(self, error: MeshError, node: Node) -> bool:
        """Count an attempt that the cloud may have charged for; false: it was the last allowed."""
        is_free = node.key[0] is not Tier.CLOUD or isinstance(error, COSTLESS)
        if is_free or self._cloud_attempts is None:
            return True
        self._cloud_attempts -= 1
        return self._cloud_attempts > 0

    def _after_refusal(self, error: MeshError, node: Node) -> None:
        self._declined += 1
        if self._declined > MAX_DECLINED:
            raise error
        if isinstance(error, BreakerOpen | BudgetExhausted):
            self._exclude(error, node)

    def _exclude(self, error: MeshError, node: Node) -> None:
        self.last_error = error
        self.demand.excluded.add(node.key)
        if node.key[0] is Tier.EDGE:
            self.demand.edge_attempts += 1
