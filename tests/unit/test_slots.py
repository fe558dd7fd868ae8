"""Slots: what background attempts leave to interactive ones, and the other way round."""

from mesh.seats import Room
from schemas.inference import InferRequest, Urgency
from tests.support.fleets import model
from workers.slots import Slots

INTERACTIVE = InferRequest(model="m")
BACKGROUND = InferRequest(model="m", urgency=Urgency.BACKGROUND)
TWO = model("m", slots=2)


def taken(*requests: InferRequest) -> Slots:
    slots = Slots()
    for request in requests:
        slots.take(request)
    return slots


def test_background_attempts_leave_all_slots_free() -> None:
    """Slots full of background work are free for interactive requests, and none is idle."""
    slots = taken(BACKGROUND, BACKGROUND)
    assert slots.room(TWO, gives_way=True) == Room(free=2, idle=0)


def test_interactive_attempts_take_from_both() -> None:
    """Interactive work counts for everybody, and together more may run than there are slots."""
    slots = taken(BACKGROUND, BACKGROUND, INTERACTIVE)
    assert slots.room(TWO, gives_way=True) == Room(free=1, idle=0)
    slots.take(INTERACTIVE)
    assert slots.room(TWO, gives_way=True) == Room(free=0, idle=0)
    assert slots.taken("m") == 4


def test_slots_come_back() -> None:
    """What ends gives back what it took, and other models are not concerned."""
    slots = taken(BACKGROUND, INTERACTIVE)
    slots.release(INTERACTIVE)
    assert slots.room(TWO, gives_way=True) == Room(free=2, idle=1)
    slots.release(BACKGROUND)
    assert slots.room(TWO, gives_way=True) == Room(free=2, idle=2)
    assert slots.room(model("other", slots=1), gives_way=True) == Room(free=1, idle=1)


def test_who_cannot_be_interrupted_holds_a_slot_for_all() -> None:
    """Where background work does not give way, it counts like any other."""
    slots = taken(BACKGROUND)
    assert slots.room(TWO, gives_way=False) == Room(free=1, idle=1)
