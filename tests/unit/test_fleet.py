"""The fleet directory: what adverts do to it."""

from mesh.fleet import Fleet
from mesh.inbox import Delivery
from mesh.seats import Room, Seat
from schemas.fleet import Tier
from schemas.inference import Urgency
from schemas.wire import encode
from tests.support.fleets import FakeClock, advert, fleet_of, model

INTERACTIVE, BACKGROUND = Urgency


def expect(seat: Seat, attempts: int, urgency: Urgency = INTERACTIVE) -> None:
    for _ in range(attempts):
        seat.expect(urgency)


def test_late_advert_of_the_same_incarnation_is_ignored() -> None:
    """An advert that was overtaken changes nothing."""
    fleet = fleet_of(advert("w", model(free=1), sequence=5))
    fleet.update(advert("w", model(free=4), sequence=4))
    assert fleet.models()[0].slots_free == 1


def test_new_incarnation_starts_afresh() -> None:
    """A restarted worker counts from one again, and what was pending died with the old one."""
    fleet = fleet_of(advert("w", model(), sequence=50))
    expect(fleet.seats("m", Tier.EDGE)[0], 3)
    fleet.update(advert("w", model(), incarnation="i2", sequence=1))
    assert fleet.seats("m", Tier.EDGE)[0].free == 4


def test_silent_worker_is_dropped_after_three_intervals() -> None:
    """Three missed adverts and a worker is gone."""
    clock = FakeClock()
    fleet = fleet_of(advert("w", model()), clock=clock)
    clock.now += 2.9
    fleet.prune()
    assert len(fleet.nodes()) == 1
    clock.now += 0.2
    fleet.prune()
    assert fleet.nodes() == []
    assert not fleet.has("m")


def test_goodbye_removes_a_worker_at_once() -> None:
    """A drained worker's last advert lists no models."""
    fleet = fleet_of(advert("w", model()))
    fleet.update(advert("w", sequence=2, draining=True))
    assert fleet.nodes() == []


def test_unloaded_model_disappears() -> None:
    """A model missing from the newest advert is not served any more."""
    fleet = fleet_of(advert("w", model("a"), model("b")))
    fleet.update(advert("w", model("b"), sequence=2))
    assert [summary.name for summary in fleet.models()] == ["b"]


def test_listeners_hear_of_new_room() -> None:
    """Room that an advert or a frame reports wakes whoever waits."""
    fleet = fleet_of(advert("w", model(free=0)))
    heard: list[str] = []
    fleet.on_change(heard.append)
    fleet.update(advert("w", model(free=0), sequence=2))
    assert heard == []
    fleet.update(advert("w", model(free=1), sequence=3))
    fleet.room(fleet.seats("m", Tier.EDGE)[0], Room(2))
    assert heard == ["m", "m"]


def test_advert_under_another_workers_subject_is_ignored() -> None:
    """A worker speaks for itself alone."""
    fleet = Fleet(FakeClock())
    forged = encode(advert("victim", model()))
    fleet._on_advert(Delivery("mesh.v1.edge.capacity.rogue", forged))
    assert fleet.nodes() == []
    fleet._on_advert(Delivery("mesh.v1.cloud.capacity.victim", forged))
    assert fleet.nodes() == []
    fleet._on_advert(Delivery("mesh.v1.edge.capacity.victim", forged))
    assert len(fleet.nodes()) == 1


def test_malformed_advert_is_ignored() -> None:
    """Garbage on a capacity subject harms nobody."""
    fleet = Fleet(FakeClock())
    fleet._on_advert(Delivery("mesh.v1.edge.capacity.w", b"\xff{"))
    assert fleet.nodes() == []


def test_advert_does_not_count_pending_dispatches_twice() -> None:
    """An advert that overtakes the answers leaves the count to the answers."""
    fleet = fleet_of(advert("w", model(slots=4)))
    seat = fleet.seats("m", Tier.EDGE)[0]
    expect(seat, 3)
    fleet.update(advert("w", model(slots=4, free=1), sequence=2))
    assert seat.free == 1
    for free in (3, 2, 1):
        seat.settle(INTERACTIVE)
        fleet.room(seat, Room(free))
    assert seat.free == 1
    fleet.update(advert("w", model(slots=4, free=2), sequence=3))
    assert seat.free == 2


def test_group_knows_who_has_room() -> None:
    """Seats move in and out of those with room as counts, suspicion and drains change."""
    fleet = fleet_of(advert("a", model(slots=2)), advert("b", model(slots=3, free=0)))
    group = fleet.group("m", Tier.EDGE)

    def with_room() -> set[str]:
        return {seat.node.key[1] for seat in group.with_room()}

    assert (with_room(), group.slots) == ({"a"}, 5)
    fleet.room(fleet.seats("m", Tier.EDGE)[1], Room(1))
    assert with_room() == {"a", "b"}
    fleet.nodes()[0].suspect = True
    assert with_room() == {"b"}
    fleet.update(advert("b", model(slots=3), sequence=2, draining=True))
    assert with_room() == set()
    fleet.update(advert("a", model(slots=1), sequence=2))
    assert (with_room(), group.slots) == ({"a"}, 4)
    fleet.drop(fleet.nodes()[0])
    assert (with_room(), group.slots) == (set(), 3)


def test_a_worker_that_left_offers_no_room() -> None:
    """An attempt that ends after its worker was dropped does not bring the seat back."""
    fleet = fleet_of(advert("gone", model()), advert("here", model()))
    seat = fleet.seats("m", Tier.EDGE)[0]
    seat.expect(INTERACTIVE)
    fleet.drop(seat.node)
    seat.settle(INTERACTIVE)
    assert [seat.node.key[1] for seat in fleet.group("m", Tier.EDGE).open] == ["here"]


def test_room_is_told_even_without_a_count() -> None:
    """A refusal that names no free slots still gives back the one that was reserved."""
    fleet = fleet_of(advert("w", model(slots=1)))
    told: list[str] = []
    fleet.on_change(told.append)
    seat = fleet.seats("m", Tier.EDGE)[0]
    fleet.room(seat, Room())
    seat.expect(INTERACTIVE)
    fleet.room(seat, Room())
    assert told == ["m"]


def test_own_standstill_is_not_a_workers_silence() -> None:
    """Time in which this process stood still does not make workers stale."""
    clock = FakeClock()
    fleet = fleet_of(advert("w", model()), clock=clock)
    clock.now += 60
    fleet.excuse_silence(60)
    fleet.prune()
    assert fleet.has("m")


def test_background_attempts_take_idle_slots_but_no_free_ones() -> None:
    """What background work holds or is sent counts for background requests alone."""
    fleet = fleet_of(advert("w", model(slots=4, free=3, idle=2)))
    seat = fleet.seats("m", Tier.EDGE)[0]
    assert (seat.free, seat.idle) == (3, 2)
    seat.expect(BACKGROUND)
    assert (seat.free, seat.idle) == (3, 1)
    seat.expect(INTERACTIVE)
    assert (seat.free, seat.idle) == (2, 0)
    group = fleet.group("m", Tier.EDGE)
    assert (list(group.room(INTERACTIVE)), list(group.room(BACKGROUND))) == ([seat], [])
    seat.settle(BACKGROUND)
    fleet.room(seat, Room(2, 2))
    assert (fleet.models()[0].slots_free, fleet.models()[0].slots_idle) == (1, 1)


def test_a_worker_that_tells_no_idle_slots_gives_way_to_nobody() -> None:
    """For workers that know no background class, free and idle are the same."""
    fleet = fleet_of(advert("w", model(slots=2)))
    seat = fleet.seats("m", Tier.EDGE)[0]
    assert (seat.free, seat.idle) == (2, 2)
    fleet.room(seat, Room(1))
    assert (seat.free, seat.idle) == (1, 1)
