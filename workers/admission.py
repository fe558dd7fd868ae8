"""Admission: which dispatches a worker takes, and how much room it says it has.

The worker is the sole arbiter of its slots: a dispatch takes one or is refused at once, and no
queue forms here that would be stranded if the machine went away. Background attempts take idle
slots only, and none from interactive ones (``slots.py``).
"""

from msgspec.structs import replace

from mesh.errors import (
    Busy,
    DeadlineExceeded,
    Draining,
    MeshError,
    ModelNotFound,
    NoCapacity,
)
from mesh.seats import UNCOUNTED, Room
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Dispatch, Urgency
from workers.engine import Engine
from workers.slots import Slots


class Admission:
    """Decides for one worker; ``draining``: it takes nothing new."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self.slots = Slots()
        self.draining = False

    def refusal(self, work: Dispatch, engine: Engine | None) -> MeshError | None:
        """Return why a dispatch is not taken, ``None`` if it may be.

        ``engine``: the one of its model, ``None`` where there is none.
        """
        if self.draining:
            return Draining()
        name = work.request.model
        if engine is None:
            return ModelNotFound(f"worker {self._worker} does not serve {name!r}")
        status = engine.status()
        if status.state is ModelState.FAILED:
            return NoCapacity(f"{name} is down on {self._worker}: {status.detail}", retry_after=5.0)
        if self._must_wait(status):
            return Busy(f"{name} is being loaded")
        room = self.room(engine, status)
        if not (room.free if work.request.urgency is Urgency.INTERACTIVE else room.idle):
            return Busy(f"all slots of {name} are taken")
        return DeadlineExceeded() if work.remaining_ms <= 0 else None

    def room(self, engine: Engine, status: ModelStatus) -> Room:
        """Return how much room an engine in this status has."""
        if self.draining or status.state is ModelState.FAILED or self._must_wait(status):
            return Room(0, 0)
        return self.slots.room(status, gives_way=engine.gives_way)

    def room_told_with(self, error: MeshError, engine: Engine | None) -> Room:
        """Return the room that is told with a refusal: only where room is what was lacking."""
        if not isinstance(error, Busy | Draining):
            return UNCOUNTED
        return Room(0, 0) if engine is None else self.room(engine, engine.status())

    def status(self, engine: Engine) -> ModelStatus:
        """Return an engine's status with the room that it has."""
        status = engine.status()
        room = self.room(engine, status)
        return replace(status, slots_free=room.free, slots_idle=room.idle)

    def _must_wait(self, status: ModelStatus) -> bool:
        """Tell whether requests do better to wait for a model in the router.

        There they can go elsewhere if it takes long. One that is loaded because attempts here wait
        for it may have company.
        """
        return status.state is ModelState.LOADING and not self.slots.taken(status.name)
