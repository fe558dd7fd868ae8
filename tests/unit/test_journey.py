"""The rule book of retries."""

import pytest

from mesh import errors
from mesh.demand import Demand
from mesh.journey import MAX_DECLINED, PATIENCE_FOR_ABSENT, Journey
from mesh.resume import Trail
from mesh.seats import Node
from schemas.fleet import Tier
from schemas.frames import Delta
from schemas.inference import Policy
from tests.support.fleets import advert, model
from tests.support.requests import chat


def journey() -> Journey:
    demand = Demand(
        model="m", policy=Policy.EDGE_FIRST, prompt_tokens=1, output_tokens=1, deadline=10.0
    )
    return Journey(demand, 10.0)


def node(name: str, tier: Tier = Tier.EDGE) -> Node:
    return Node(advert(name, model(), tier=tier), 0.0)


def test_request_faults_are_final() -> None:
    """What is wrong with the request is not retried."""
    with pytest.raises(errors.ContextLengthExceeded):
        journey().after(errors.ContextLengthExceeded(), node("a"))


def test_refusals_cost_no_attempt_and_exclude_nobody() -> None:
    """A busy worker may be asked again when it has room."""
    trip = journey()
    for _ in range(10):
        trip.after(errors.Busy(), node("a"))
    assert trip.demand.excluded == set()
    assert trip.demand.edge_attempts == 0


def test_refusals_do_not_go_on_forever() -> None:
    """A worker that refuses without end stops the request, not the machine."""
    trip = journey()
    for _ in range(MAX_DECLINED):
        trip.after(errors.Busy(), node("a"))
    with pytest.raises(errors.Busy):
        trip.after(errors.Busy(), node("a"))


def test_open_breaker_excludes_its_worker() -> None:
    """A cloud worker that cannot reach its upstream is not asked again."""
    trip = journey()
    trip.after(errors.BreakerOpen(), node("c", Tier.CLOUD))
    assert trip.demand.excluded == {(Tier.CLOUD, "c")}
    assert trip.demand.edge_attempts == 0


def test_attempts_in_the_cloud_are_counted_where_they_cost() -> None:
    """After the last one that is allowed the request fails; what was turned away costs nothing."""
    trip = Journey(journey().demand, 10.0, cloud_attempts=2)
    trip.after(errors.UpstreamRateLimited(), node("a", Tier.CLOUD))
    trip.after(errors.UpstreamTimeout(), node("b", Tier.CLOUD))
    trip = Journey(journey().demand, 10.0, cloud_attempts=1)
    trip.after(errors.BreakerOpen(), node("a", Tier.CLOUD))
    trip.after(errors.InternalError(), node("e"))
    with pytest.raises(errors.UpstreamTimeout):
        trip.after(errors.UpstreamTimeout(), node("b", Tier.CLOUD))


def test_failed_attempt_goes_elsewhere() -> None:
    """A worker that failed is excluded, and counted for the edge."""
    trip = journey()
    trip.after(errors.OutOfMemory(), node("a"))
    assert trip.demand.excluded == {(Tier.EDGE, "a")}
    assert trip.demand.edge_attempts == 1


def test_three_attempts_are_the_limit() -> None:
    """The third failure is the answer."""
    trip = journey()
    trip.after(errors.OutOfMemory(), node("a"))
    trip.after(errors.InternalError(), node("b"))
    with pytest.raises(errors.OutOfMemory):
        trip.after(errors.OutOfMemory(), node("c"))


def test_two_deaths_quarantine_the_request() -> None:
    """A request that brought down two workers gets no third."""
    trip = journey()
    trip.after(errors.WorkerLost(), node("a"))
    with pytest.raises(errors.Quarantined):
        trip.after(errors.EngineCrashed(), node("b"))


def test_visible_output_cannot_be_taken_back() -> None:
    """After the first visible token a loss is an error."""
    trip = journey()
    trip.visible = True
    with pytest.raises(errors.WorkerLost):
        trip.after(errors.WorkerLost(), node("a"))


def trail(*, ids: tuple[int, ...] = (1, 2), digest: str = "d") -> Trail:
    said = Trail(chat())
    said.begin(digest)
    said.add(Delta(seq=1, text="a b", ids=ids))
    return said


def test_visible_output_is_followed_with_the_same_model_file() -> None:
    """A loss in mid-stream goes on where another worker has the same file."""
    trip = journey()
    trip.visible = True
    trip.after(errors.WorkerLost(), node("a"), trail())
    assert trip.demand.digest == "d"
    assert trip.demand.excluded == {(Tier.EDGE, "a")}


@pytest.mark.parametrize("said", [trail(ids=()), trail(digest="")])
def test_what_cannot_be_replayed_is_not_followed(said: Trail) -> None:
    """Output without token ids, or of an unknown file, ends with the loss."""
    trip = journey()
    trip.visible = True
    with pytest.raises(errors.WorkerLost):
        trip.after(errors.WorkerLost(), node("a"), said)


def test_several_choices_are_not_followed() -> None:
    """Ids of several choices do not make one text to replay."""
    said = Trail(chat(n=2))
    said.begin("d")
    said.add(Delta(seq=1, text="a", ids=(1,)))
    assert not said.can_be_followed


def test_patience_begins_when_the_model_goes() -> None:
    """However long a request has waited for a slot, a restarting worker gets its time."""
    trip = journey()
    trip.begin_wait(0.0, share=0.25, longest=5.0)
    assert not trip.is_absent(60.0, present=True)
    assert not trip.is_absent(60.0 + PATIENCE_FOR_ABSENT - 1, present=False)
    assert trip.is_absent(60.0 + PATIENCE_FOR_ABSENT, present=False)


def test_a_broken_line_is_not_the_workers_fault() -> None:
    """After a blip of our own connection the same worker may try again, twice."""
    trip = journey()
    trip.after(errors.LineLost(), node("a"))
    trip.after(errors.LineLost(), node("a"))
    assert trip.demand.excluded == set()
    with pytest.raises(errors.LineLost):
        trip.after(errors.LineLost(), node("a"))
