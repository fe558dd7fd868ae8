"""What jobs may take of the fleet: the one place that knows of idle slots and of the class of jobs.

Jobs are computed in what interactive requests leave.
"""

from msgspec.structs import replace

from mesh.fleet import Fleet
from schemas.fleet import Tier
from schemas.inference import InferRequest, Policy, Urgency


def idle(fleet: Fleet, model: str, tier: Tier) -> int:
    """Return the slots for a model in which nothing is computed."""
    return sum(seat.idle for seat in fleet.group(model, tier).idle)


def as_job(request: InferRequest, policy: Policy, remaining_ms: int) -> InferRequest:
    """Return a request as a runner sends it: in the background, where it may be computed now."""
    return replace(request, policy=policy, deadline_ms=remaining_ms, urgency=Urgency.BACKGROUND)
