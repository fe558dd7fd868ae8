"""Which models make room for which."""

import math

from workers.residency import Plan, Resident, held_for, make_room

NOW = 1000.0


def resident(name: str, nbytes: int = 10, *, held: float = 0.0, used: float = 0.0) -> Resident:
    return Resident(name=name, nbytes=nbytes, held_until=held, used_at=used)


def busy(name: str, nbytes: int = 10, *, used: float = 0.0) -> Resident:
    return Resident(name=name, nbytes=nbytes, held_until=0.0, used_at=used, in_use=True)


def leaving(*names: str, at_once: bool = True) -> Plan:
    return Plan(leaving=frozenset(names), at_once=at_once)


def test_nobody_leaves_when_nothing_is_missing() -> None:
    """Where there is room, everybody stays."""
    assert make_room(0, [resident("a")], NOW) == Plan()


def test_the_least_recently_used_leaves() -> None:
    """Of two that would do, the one that was idle for longer goes."""
    residents = [resident("new", used=900), resident("old", used=100)]
    assert make_room(10, residents, NOW) == leaving("old")


def test_an_idle_model_leaves_before_one_in_use() -> None:
    """A model that works stays, even if it began its work long ago."""
    residents = [busy("works", used=100), resident("idle", used=900)]
    assert make_room(10, residents, NOW) == leaving("idle")


def test_one_in_use_is_asked_to_finish() -> None:
    """Where nothing else does, models in use take nothing new, and nobody goes at once."""
    residents = [busy("works"), resident("idle")]
    assert make_room(20, residents, NOW) == leaving("works", "idle", at_once=False)


def test_a_model_stays_for_a_while() -> None:
    """Before its time is over a model is left alone, and the plan says when to look again."""
    residents = [resident("a", held=NOW + 5), resident("b", held=NOW + 3)]
    assert make_room(10, residents, NOW) == Plan(look_again=NOW + 3)
    assert make_room(10, residents, NOW + 3) == leaving("b")


def test_nobody_leaves_for_too_little() -> None:
    """Models go only if that makes enough room; the rest is waited for."""
    residents = [resident("a"), resident("b", held=NOW + 3)]
    assert make_room(20, residents, NOW) == Plan(look_again=NOW + 3)


def test_one_that_still_loads_stays() -> None:
    """Time alone does not end a load."""
    assert make_room(10, [resident("a", held=math.inf)], NOW) == Plan()


def test_those_that_are_not_needed_are_spared() -> None:
    """A small old model stays when the large one after it has to go anyway."""
    residents = [resident("small", 1, used=1), resident("large", 10, used=2)]
    assert make_room(10, residents, NOW) == leaving("large")


def test_the_most_recently_used_is_spared_first() -> None:
    """Of those that turn out not to be needed, the one used last stays."""
    residents = [
        resident("a", 4, used=1),
        resident("b", 4, used=2),
        resident("large", 10, used=3),
    ]
    assert make_room(14, residents, NOW) == leaving("a", "large")


def test_a_stay_is_in_proportion_to_the_load() -> None:
    """A model that loads in a moment need not stay for long."""
    assert held_for(0.5, 30.0) == 5.0
    assert held_for(60.0, 30.0) == 30.0
