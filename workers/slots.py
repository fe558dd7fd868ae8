"""Who holds the slots of a worker's models, and what is left for whom. Pure.

A background attempt gives way where its engine can interrupt it: an interactive one then counts
only those of its own kind, and never waits for a slot that background work holds.
"""

from mesh.seats import Room
from schemas.fleet import ModelStatus
from schemas.inference import InferRequest, Urgency


class Slots:
    """Counts the attempts of each model by urgency."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, Urgency], int] = {}

    def take(self, request: InferRequest) -> None:
        """Count an attempt that begins."""
        key = request.model, request.urgency
        self._taken[key] = self._taken.get(key, 0) + 1

    def release(self, request: InferRequest) -> None:
        """Take back an attempt that has ended."""
        self._taken[request.model, request.urgency] -= 1

    def taken(self, model: str) -> int:
        """Return how many attempts a model has."""
        return self._of(model, Urgency.INTERACTIVE) + self._of(model, Urgency.BACKGROUND)

    def room(self, status: ModelStatus, *, gives_way: bool) -> Room:
        """Return a model's free and idle slots; ``gives_way``: see ``Engine``."""
        idle = max(0, status.slots - self.taken(status.name))
        if not gives_way:
            return Room(idle, idle)
        interactive = self._of(status.name, Urgency.INTERACTIVE)
        return Room(max(0, status.slots - interactive), idle)

    def _of(self, model: str, urgency: Urgency) -> int:
        return self._taken.get((model, urgency), 0)
