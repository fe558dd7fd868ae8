"""Placement decisions, one behaviour each, on fleets made of adverts."""

from typing import Any

import pytest

from mesh import errors
from mesh.demand import Demand, Line
from mesh.fleet import Fleet
from mesh.placement import (
    Decision,
    Dispatch,
    Fallback,
    Limits,
    Overflow,
    Reject,
    Wait,
    place,
)
from mesh.prefix import Prefix
from schemas.fleet import ModelState, Tier
from schemas.inference import Ability, Policy, Urgency
from tests.support.fleets import FakeClock, advert, fleet_of, model

NOW = 0.0


def demand(**changes: Any) -> Demand:
    settings: dict[str, Any] = {
        "model": "m",
        "policy": Policy.EDGE_FIRST,
        "prompt_tokens": 100,
        "output_tokens": 100,
        "deadline": 60.0,
    }
    return Demand(**settings | changes)


def cloud(*models: Any, name: str = "c") -> Any:
    return advert(name, *models, tier=Tier.CLOUD)


def worker_of(decision: Decision) -> str:
    assert isinstance(decision, Dispatch | Overflow)
    return decision.seat.node.key[1]


def test_best_predicted_finish_wins() -> None:
    """The faster of two free workers is chosen."""
    fleet = fleet_of(
        advert("slow", model(prefill=100, decode=10)), advert("fast", model(prefill=100, decode=50))
    )
    assert worker_of(place(demand(), fleet, NOW)) == "fast"


def test_warm_prefix_counts_in_the_prediction() -> None:
    """Of two equal workers the one that holds the prompt's prefix is chosen."""
    fleet = fleet_of(
        advert("cold", model(prefill=100, decode=50)),
        advert("warm", model(prefill=100, decode=50, warm=("abc",))),
    )
    prefixes = (Prefix("abc", 90),)
    assert worker_of(place(demand(prefixes=prefixes), fleet, NOW)) == "warm"


def test_equals_are_told_apart_by_load() -> None:
    """Of two equally fast workers the emptier one is chosen."""
    fleet = fleet_of(advert("full", model(free=1)), advert("empty", model(free=4)))
    assert worker_of(place(demand(), fleet, NOW)) == "empty"


def test_equal_workers_share_the_load() -> None:
    """Equals in speed and load are chosen at random."""
    fleet = fleet_of(advert("a", model()), advert("b", model()))
    chosen = {worker_of(place(demand(), fleet, NOW)) for _ in range(100)}
    assert chosen == {"a", "b"}


def test_a_loaded_model_comes_before_a_loading_one() -> None:
    """A worker that still loads the model gets work only if no other is free."""
    fleet = fleet_of(
        advert("loading", model(decode=100, state=ModelState.LOADING)),
        advert("ready", model(decode=10)),
    )
    assert worker_of(place(demand(), fleet, NOW)) == "ready"


def test_unknown_model_overflows_with_no_model() -> None:
    """A model that only the cloud has goes there, with the reason."""
    decision = place(demand(), fleet_of(advert("e", model("other")), cloud(model())), NOW)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.NO_MODEL


def test_context_that_fits_nowhere_on_the_edge_overflows() -> None:
    """A prompt clearly beyond every edge context counts as no model."""
    fleet = fleet_of(advert("e", model(context=100)), cloud(model(context=100_000)))
    decision = place(demand(prompt_tokens=5000), fleet, NOW)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.NO_MODEL


def test_predicted_deadline_miss_overflows_if_the_cloud_would_keep_it() -> None:
    """A free but too slow edge worker is passed over for a cloud that makes it in time."""
    fleet = fleet_of(advert("e", model(decode=1)), cloud(model(decode=100)))
    decision = place(demand(deadline=5.0), fleet, NOW)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.DEADLINE


def test_predicted_deadline_miss_stays_on_the_edge_if_the_cloud_misses_it_too() -> None:
    """Paying for an answer that comes too late as well helps nobody."""
    fleet = fleet_of(advert("e", model(decode=1)), cloud(model(decode=2)))
    assert worker_of(place(demand(deadline=5.0), fleet, NOW)) == "e"


def test_full_slots_wait_until_the_queue_reaches_the_threshold() -> None:
    """With slots full, as many as there are slots wait; the next goes to the cloud."""
    fleet = fleet_of(advert("e", model(slots=2, free=0)), cloud(model()))
    assert isinstance(place(demand(), fleet, NOW, waiting=1), Wait)
    decision = place(demand(), fleet, NOW, waiting=2)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.QUEUE_DEPTH


def test_waiting_prediction_counts_towards_the_deadline() -> None:
    """A queue that cannot be through in time sends the request to the cloud at once."""
    fleet = fleet_of(advert("e", model(slots=1, free=0, decode=10)), cloud(model(decode=1000)))
    decision = place(demand(deadline=12.0), fleet, NOW, waiting=0)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.DEADLINE


def test_overdue_request_overflows_with_wait() -> None:
    """A request that has waited its share goes to the cloud."""
    fleet = fleet_of(advert("e", model(free=0)), cloud(model()))
    decision = place(demand(line=Line.OVERDUE), fleet, NOW, waiting=1)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.WAIT


def test_used_up_edge_attempts_overflow() -> None:
    """After failing on the edge the cloud answers, with the reason."""
    fleet = fleet_of(advert("e", model()), cloud(model()))
    failed = demand(excluded={(Tier.EDGE, "e")}, edge_attempts=1)
    decision = place(failed, fleet, NOW)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.EDGE_FAILED


def test_failed_worker_is_not_chosen_again() -> None:
    """A worker that failed this request is passed over while another is there."""
    fleet = fleet_of(advert("e1", model(decode=100)), advert("e2", model(decode=1)))
    failed = demand(excluded={(Tier.EDGE, "e1")}, edge_attempts=1)
    assert worker_of(place(failed, fleet, NOW)) == "e2"


@pytest.mark.parametrize("waiting", [0, 5, 300])
@pytest.mark.parametrize("line", Line)
@pytest.mark.parametrize("edge", [True, False])
def test_edge_only_never_reaches_the_cloud(waiting: int, line: Line, edge: bool) -> None:
    """Whatever the situation, edge-only gets no cloud seat."""
    adverts = [cloud(model(decode=1e6))]
    if edge:
        adverts.append(advert("e", model(free=0, decode=0.1)))
    wish = demand(policy=Policy.EDGE_ONLY, deadline=0.5, line=line)
    decision = place(wish, fleet_of(*adverts), NOW, waiting=waiting)
    assert isinstance(decision, Wait | Reject)


def test_full_queue_is_refused_with_retry_after() -> None:
    """Beyond the limit a newcomer is told when to come back."""
    fleet = fleet_of(advert("e", model(free=0, decode=50)))
    limits = Limits(queue_limit=3)
    decision = place(demand(), fleet, NOW, waiting=3, limits=limits)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.QueueFull)
    assert decision.error.retry_after is not None
    assert decision.error.retry_after >= 1
    standing = place(demand(line=Line.WAITING), fleet, NOW, waiting=3, limits=limits)
    assert isinstance(standing, Wait)


def test_cloud_only_ignores_the_edge() -> None:
    """The policy cloud-only takes the cloud, without a fallback reason."""
    decision = place(
        demand(policy=Policy.CLOUD_ONLY), fleet_of(advert("e", model()), cloud(model())), NOW
    )
    assert isinstance(decision, Dispatch)
    assert decision.seat.node.key == (Tier.CLOUD, "c")


def test_unknown_model_is_rejected_by_name() -> None:
    """A model nobody ever had is a ModelNotFound."""
    decision = place(demand(model="nope"), fleet_of(advert("e", model())), NOW)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.ModelNotFound)
    assert "nope" in decision.error.message


def test_edge_only_does_not_wait_for_a_model_of_the_cloud() -> None:
    """A model that only the cloud has does not exist for edge-only."""
    decision = place(demand(policy=Policy.EDGE_ONLY), fleet_of(cloud(model())), NOW)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.ModelNotFound)


def test_model_seen_lately_is_waited_for() -> None:
    """A model whose workers just vanished is not unknown."""
    clock = FakeClock()
    fleet = fleet_of(advert("e", model()), clock=clock)
    clock.now += 60
    fleet.prune()
    assert fleet.nodes() == []
    assert isinstance(place(demand(), fleet, NOW), Wait)


def test_empty_mesh_is_no_reason_to_blame_the_model() -> None:
    """With no worker up at all a request is told so, and to come back."""
    clock = FakeClock()
    decision = place(demand(), fleet_of(clock=clock), NOW)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.NoCapacity)


def test_young_fleet_waits_for_adverts() -> None:
    """Right after the start nothing is called unknown yet."""
    assert isinstance(place(demand(), Fleet(FakeClock()), NOW), Wait)


def test_missing_ability_names_the_field() -> None:
    """What no worker supports is refused with the request's field."""
    decision = place(demand(needs={Ability.TOOLS: "tools"}), fleet_of(advert("e", model())), NOW)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.Unsupported)
    assert decision.error.param == "tools"


def test_missing_ability_overflows_to_a_cloud_that_has_it() -> None:
    """An ability that only the cloud has is a reason to go there."""
    fleet = fleet_of(advert("e", model()), cloud(model(abilities=(Ability.TOOLS,))))
    decision = place(demand(needs={Ability.TOOLS: "tools"}), fleet, NOW)
    assert isinstance(decision, Overflow)
    assert decision.reason is Fallback.NO_MODEL


def test_failed_engine_tells_why() -> None:
    """A model that could not be loaded is refused with the worker's reason."""
    broken = model(state=ModelState.FAILED, detail="needs 9 GiB, 4 GiB are free")
    decision = place(demand(), fleet_of(advert("e", broken)), NOW)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, errors.NoCapacity)
    assert "needs 9 GiB" in decision.error.message


def test_pending_dispatches_take_room() -> None:
    """What was dispatched and not yet answered counts as taken."""
    fleet = fleet_of(advert("e", model(slots=1)))
    fleet.seats("m", Tier.EDGE)[0].expect(Urgency.INTERACTIVE)
    assert isinstance(place(demand(), fleet, NOW), Wait)


def test_suspect_worker_gets_nothing_until_its_next_advert() -> None:
    """A worker that left a dispatch unanswered is passed over until it is heard of again."""
    fleet = fleet_of(advert("e", model()))
    fleet.nodes()[0].suspect = True
    assert isinstance(place(demand(), fleet, NOW), Wait)
    fleet.update(advert("e", model(), sequence=2))
    assert worker_of(place(demand(), fleet, NOW)) == "e"


def test_free_worker_is_found_among_a_thousand_full_ones() -> None:
    """Sampling a large fleet never hides the only free worker."""
    adverts = [advert(f"w{number}", model(free=0)) for number in range(1000)]
    fleet = fleet_of(*adverts, advert("free", model(free=1)))
    assert worker_of(place(demand(), fleet, NOW)) == "free"


def test_a_conversation_stays_with_its_worker() -> None:
    """A worker that holds the conversation keeps it though another looks a little faster."""
    fleet = fleet_of(
        advert("other", model(prefill=9000, decode=60)),
        advert("holder", model(prefill=9000, decode=50, warm=("abc",))),
    )
    prefixes = (Prefix("abc", 90),)
    assert worker_of(place(demand(prefixes=prefixes), fleet, NOW)) == "holder"


def test_a_conversation_leaves_an_overloaded_worker() -> None:
    """A worker that has become far slower than another loses the conversation."""
    fleet = fleet_of(
        advert("other", model(prefill=9000, decode=60)),
        advert("holder", model(prefill=9000, decode=20, warm=("abc",))),
    )
    prefixes = (Prefix("abc", 90),)
    assert worker_of(place(demand(prefixes=prefixes), fleet, NOW)) == "other"


def test_a_shared_system_prompt_does_not_bind() -> None:
    """A prefix of system turns alone saves its own tokens and nothing more."""
    fleet = fleet_of(
        advert("other", model(prefill=9000, decode=60)),
        advert("holder", model(prefill=9000, decode=50, warm=("abc",))),
    )
    prefixes = (Prefix("abc", 90, is_common=True),)
    assert worker_of(place(demand(prefixes=prefixes), fleet, NOW)) == "other"


def test_the_holder_is_found_among_very_many() -> None:
    """The worker that holds the conversation is looked at even if the sample leaves it out."""
    others = [advert(f"w{index}", model()) for index in range(300)]
    fleet = fleet_of(*others, advert("holder", model(warm=("abc",))))
    prefixes = (Prefix("abc", 90),)
    chosen = {worker_of(place(demand(prefixes=prefixes), fleet, NOW)) for _ in range(20)}
    assert chosen == {"holder"}


def test_a_load_is_not_caused_where_waiting_is_sooner() -> None:
    """A slot that frees in a moment beats a model that takes a minute to load."""
    fleet = fleet_of(
        advert("busy", model(free=0, prefill=1000, decode=100)),
        advert("unloaded", model(state=ModelState.AVAILABLE, overhead_ms=60_000)),
    )
    assert isinstance(place(demand(), fleet, NOW), Wait)


def test_a_model_is_loaded_where_waiting_takes_longer() -> None:
    """With a long line in front, loading the model on another worker comes first."""
    fleet = fleet_of(
        advert("busy", model(free=0, prefill=1000, decode=100)),
        advert("unloaded", model(state=ModelState.AVAILABLE, overhead_ms=2_000)),
    )
    assert worker_of(place(demand(), fleet, NOW, waiting=16)) == "unloaded"


def test_a_begun_answer_goes_on_only_with_the_same_file() -> None:
    """Neither another file of that name nor the cloud can continue an answer."""
    fleet = fleet_of(advert("other", model(digest="e")), advert("same", model(digest="d")))
    assert worker_of(place(demand(digest="d"), fleet, NOW)) == "same"

    fleet = fleet_of(advert("other", model(digest="e")), cloud(model()))
    decision = place(demand(digest="d"), fleet, NOW)
    assert isinstance(decision, Reject)


def background(**changes: Any) -> Demand:
    return demand(urgency=Urgency.BACKGROUND, **changes)


def test_background_takes_idle_slots_only() -> None:
    """A slot that is free because somebody would give way is for interactive requests alone."""
    fleet = fleet_of(advert("busy", model(slots=2, free=2, idle=0)))
    assert isinstance(place(background(), fleet, NOW), Wait)
    assert worker_of(place(demand(), fleet, NOW)) == "busy"
    fleet.update(advert("quiet", model(slots=2, free=1, idle=1)))
    assert worker_of(place(background(), fleet, NOW)) == "quiet"


def test_interactive_goes_where_nobody_has_to_give_way() -> None:
    """Of equal workers the one with idle slots is chosen, though the other has more free ones."""
    fleet = fleet_of(
        advert("background", model(slots=4, free=4, idle=0)),
        advert("idle", model(slots=4, free=1, idle=1)),
    )
    assert worker_of(place(demand(), fleet, NOW)) == "idle"


@pytest.mark.parametrize("line", Line)
def test_no_waiting_sends_background_to_the_cloud(line: Line) -> None:
    """Neither the queue's depth nor a long wait is a reason."""
    fleet = fleet_of(advert("e", model(slots=1, free=0)), cloud(model()))
    assert isinstance(place(background(line=line), fleet, NOW, waiting=10), Wait)


def test_background_uses_the_cloud_where_the_edge_cannot() -> None:
    """A model the edge has not, one that failed there, and a deadline it would miss are reasons."""
    missing = fleet_of(advert("e", model("other")), cloud(model()))
    full = fleet_of(advert("e", model(decode=1, free=0)), cloud(model(decode=1000)))
    failed = background(edge_attempts=3)
    reasons = [
        place(background(), missing, NOW),
        place(background(deadline=5.0), full, NOW),
        place(failed, full, NOW),
    ]
    assert [r.reason for r in reasons if isinstance(r, Overflow)] == [
        Fallback.NO_MODEL,
        Fallback.DEADLINE,
        Fallback.EDGE_FAILED,
    ]
