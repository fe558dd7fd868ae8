"""What jobs may take of the fleet: the one place that knows of idle slots and of the class of jobs.

Jobs are computed in what interactive requests leave.
"""

from msgspec.structs import replace

from mesh.fleet import Fleet
from mesh.jobs.backoff import may_use_cloud
from mesh.jobs.destination import Standing
from mesh.subjects import JobSide
from schemas.fleet import Tier
from schemas.inference import InferRequest, Policy, Urgency
from schemas.jobs import JobRecord


def idle(fleet: Fleet, model: str, tier: Tier) -> int:
    """Return the slots for a model in which nothing is computed."""
    return sum(seat.idle for seat in fleet.group(model, tier).idle)


def as_job(request: InferRequest, policy: Policy, remaining_ms: int) -> InferRequest:
    """Return a request as a runner sends it: in the background, where it may be computed now."""
    return replace(request, policy=policy, deadline_ms=remaining_ms, urgency=Urgency.BACKGROUND)


def standing_of(record: JobRecord, side: JobSide, fleet: Fleet, now_ms: int) -> Standing:
    """Return how things stand for a job that was pulled on a side."""
    assert record.request is not None, "records are kept with their request"  # noqa: S101
    model = record.request.model
    policy = Policy.EDGE_ONLY if side is JobSide.EDGE else record.request.policy
    if policy is Policy.EDGE_FIRST and not may_use_cloud(record):
        policy = Policy.EDGE_ONLY
    left = None if record.deadline_ms is None else (record.deadline_ms - now_ms) / 1000
    return Standing(
        policy=policy,
        edge_idle=idle(fleet, model, Tier.EDGE),
        cloud_idle=idle(fleet, model, Tier.CLOUD),
        # A runner that has just come up has not heard of everybody.
        edge_serves=fleet.has(model, (Tier.EDGE,)) or not fleet.is_counted,
        age=(now_ms - max(record.created_ms, record.due_ms)) / 1000,
        remaining=left,
    )
