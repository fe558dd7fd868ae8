"""The fleet as dashboards show it: workers with their models, and models over all workers."""

from collections.abc import Iterable

from mesh.fleet import ModelSummary
from mesh.seats import Node, Seat
from schemas.dashboard import ModelTotal, ModelView, WorkerView


def worker_view(node: Node, seats: Iterable[Seat], tokens_per_second: float) -> WorkerView:
    """Return a worker with those of its models that may be seen."""
    advert = node.advert
    return WorkerView(
        name=advert.worker,
        tier=advert.tier,
        draining=advert.draining,
        memory_free=advert.memory_free,
        tokens_per_second=tokens_per_second,
        labels=advert.labels,
        models=tuple(model_view(seat) for seat in seats),
    )


def model_view(seat: Seat) -> ModelView:
    """Return one model on one worker."""
    status = seat.status
    return ModelView(
        name=status.name,
        state=status.state,
        slots=status.slots,
        free=seat.free,
        context=status.context,
        prefill_rate=status.prefill_rate,
        decode_rate=status.decode_rate,
        progress=status.progress,
        detail=status.detail,
    )


def model_total(model: ModelSummary, waiting: int = 0) -> ModelTotal:
    """Return a model over all workers; ``waiting``: requests in a gateway's line for it."""
    return ModelTotal(
        name=model.name,
        edge=model.edge,
        cloud=model.cloud,
        workers=model.workers,
        slots=model.slots,
        free=model.slots_free,
        waiting=waiting,
    )
