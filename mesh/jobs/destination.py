"""Where a job may be computed now: the edge first, the cloud when there is a reason; pure."""

from dataclasses import dataclass
from enum import StrEnum

from schemas.inference import Policy


class Reason(StrEnum):
    """Why the cloud may compute a job; kept in its record."""

    POLICY = "policy"
    """It was asked for."""
    NO_EDGE = "no_edge_worker"
    """Only the cloud has the model."""
    BACKLOG = "backlog"
    """It has waited longer than the edge is given."""
    DEADLINE = "deadline"
    """Its deadline is near."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How things stand for a job: idle slots by tier, whether the edge has the model at all.

    age, remaining: seconds since it was submitted (or was due), and to its deadline.
    """

    policy: Policy
    edge_idle: int
    cloud_idle: int
    edge_serves: bool
    age: float
    remaining: float | None


@dataclass(frozen=True)
class Destination:
    """The policy under which a job is sent now, and why the cloud if it is."""

    policy: Policy
    reason: Reason | None = None


def choose(standing: Standing, *, patience: float, hurry: float) -> Destination | None:
    """Return where a job may go now; ``None``: it waits on.

    patience: seconds that a job waits for the edge. hurry: seconds before its deadline from which
    it does not.
    """
    if standing.policy is Policy.CLOUD_ONLY:
        return Destination(Policy.CLOUD_ONLY, Reason.POLICY) if standing.cloud_idle > 0 else None
    if standing.edge_idle > 0:
        return Destination(Policy.EDGE_ONLY)
    if standing.policy is Policy.EDGE_ONLY or standing.cloud_idle <= 0:
        return None
    reason = _reason(standing, patience, hurry)
    return None if reason is None else Destination(Policy.CLOUD_ONLY, reason)


def _reason(standing: Standing, patience: float, hurry: float) -> Reason | None:
    if not standing.edge_serves:
        return Reason.NO_EDGE
    if standing.remaining is not None and standing.remaining <= hurry:
        return Reason.DEADLINE
    return Reason.BACKLOG if standing.age >= patience else None
