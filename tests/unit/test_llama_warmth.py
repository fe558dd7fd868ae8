"""Which prefixes a worker says it holds."""

from workers.llama.warmth import MAX_FINGERPRINTS, Warmth


def test_the_newest_conversation_comes_first_with_its_longest_prefix() -> None:
    """What was computed last, and most of it, is named first; what is shared is named once."""
    warmth = Warmth()
    warmth.note(1, ("system", "a"))
    warmth.note(2, ("system", "b"))
    assert warmth.fingerprints == ("b", "system", "a")


def test_what_is_evicted_is_not_advertised() -> None:
    """A prefix goes with the last conversation that began with it."""
    warmth = Warmth()
    warmth.note(1, ("system", "a"))
    warmth.note(2, ("system", "b"))
    warmth.evict([2])
    assert warmth.fingerprints == ("a", "system")
    warmth.evict([1])
    assert not warmth.fingerprints


def test_an_eviction_may_come_before_the_end_is_noted() -> None:
    """What was dropped before its attempt was noted is never advertised."""
    warmth = Warmth()
    warmth.evict([1])
    warmth.note(1, ("a",))
    assert not warmth.fingerprints
    warmth.note(2, ("b",))
    assert warmth.fingerprints == ("b",)


def test_an_advert_stays_small() -> None:
    """Only the newest prefixes are named."""
    warmth = Warmth()
    for attempt in range(2 * MAX_FINGERPRINTS):
        warmth.note(attempt, (f"f{attempt}",))
    assert len(warmth.fingerprints) == MAX_FINGERPRINTS
    assert warmth.fingerprints[0] == f"f{2 * MAX_FINGERPRINTS - 1}"


def test_a_new_engine_process_holds_nothing() -> None:
    """After a restart nothing is warm."""
    warmth = Warmth()
    warmth.note(1, ("a",))
    warmth.clear()
    assert not warmth.fingerprints
