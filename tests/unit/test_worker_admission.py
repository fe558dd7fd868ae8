"""What a worker takes, and how much room it says it has."""

import pytest
from msgspec.structs import replace

from mesh.errors import Busy, DeadlineExceeded, Draining, ModelNotFound, NoCapacity
from mesh.seats import UNCOUNTED, Room
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Dispatch, InferRequest, Urgency
from tests.support.requests import chat
from workers.admission import Admission
from workers.scripted import ScriptedEngine, ScriptedSettings

INTERACTIVE = chat()
BACKGROUND = chat(urgency=Urgency.BACKGROUND)


class InState(ScriptedEngine):
    """The scripted engine in a state that it never gets into by itself."""

    def __init__(self, state: ModelState) -> None:
        super().__init__(ScriptedSettings(slots=1))
        self._state = state

    def status(self) -> ModelStatus:
        return replace(super().status(), state=self._state, detail="the disk is on fire")


def work(request: InferRequest = INTERACTIVE, remaining_ms: int = 1000) -> Dispatch:
    return Dispatch(attempt="a", router="r", remaining_ms=remaining_ms, request=request)


def test_each_slot_is_given_once() -> None:
    """A dispatch is taken while a slot is free, and told that none is when none is."""
    admission, engine = Admission("w"), ScriptedEngine(ScriptedSettings(slots=1))
    assert admission.refusal(work(), engine) is None
    admission.slots.take(INTERACTIVE)
    refused = admission.refusal(work(), engine)
    assert isinstance(refused, Busy)
    assert admission.room_told_with(refused, engine) == Room(0, 0)
    admission.slots.release(INTERACTIVE)
    assert admission.refusal(work(), engine) is None


def test_background_work_gives_way() -> None:
    """An interactive dispatch takes the slot that a background one holds, and not the reverse."""
    admission, engine = Admission("w"), ScriptedEngine(ScriptedSettings(slots=1))
    admission.slots.take(BACKGROUND)
    assert admission.refusal(work(), engine) is None
    assert isinstance(admission.refusal(work(BACKGROUND), engine), Busy)


def test_a_draining_worker_takes_nothing() -> None:
    """It says so, and that it has no room, whatever its slots."""
    admission, engine = Admission("w"), ScriptedEngine()
    admission.draining = True
    assert isinstance(admission.refusal(work(), engine), Draining)
    assert admission.status(engine).slots_free == 0


def test_an_unknown_model_is_refused_without_a_count() -> None:
    """What has nothing to do with slots says nothing of them."""
    refused = Admission("w").refusal(work(), None)
    assert isinstance(refused, ModelNotFound)
    assert Admission("w").room_told_with(refused, None) == UNCOUNTED


def test_a_model_that_is_down_is_not_waited_for() -> None:
    """The refusal says why, and when to come again."""
    refused = Admission("w").refusal(work(), InState(ModelState.FAILED))
    assert isinstance(refused, NoCapacity)
    assert "the disk is on fire" in refused.message
    assert refused.retry_after


def test_requests_wait_for_a_model_in_the_router() -> None:
    """One that is loaded for attempts that wait here may have company, otherwise it has no room."""
    admission, engine = Admission("w"), InState(ModelState.LOADING)
    assert isinstance(admission.refusal(work(), engine), Busy)
    admission.slots.take(BACKGROUND)
    assert admission.refusal(work(), engine) is None


@pytest.mark.parametrize("remaining_ms", [0, -5])
def test_a_deadline_that_has_passed_takes_no_slot(remaining_ms: int) -> None:
    """Nothing is computed for nobody."""
    refused = Admission("w").refusal(work(remaining_ms=remaining_ms), ScriptedEngine())
    assert isinstance(refused, DeadlineExceeded)
