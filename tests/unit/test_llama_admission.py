"""Who is computed and who waits, without a model."""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import pytest

from tests.unit.test_llama_scheduler import sequence
from workers.llama.admission import Admission
from workers.llama.attempt import Attempt
from workers.llama.bank import Rows
from workers.llama.cache import KvCache
from workers.llama.sequence import Sequence

CONTEXT = 100
WIDTH = 10
"""Bytes of a token's row."""


class Memory:
    """Stands for llama.cpp's memory: everything can be kept and cut."""

    def save(self, slot: int, start: int, stop: int) -> Rows | None:
        return np.zeros((stop - start, WIDTH), np.uint8)

    def restore(self, slot: int, parts: Items[Rows]) -> bool:
        return True

    def move(self, source: int, target: int) -> bool:
        return True

    def trim(self, slot: int, length: int) -> bool:
        return True

    def forget(self, slot: int) -> None:
        """Nothing is held."""


class Closing:
    """A sampler that is never asked."""

    def sample(self, row: int) -> int:
        raise AssertionError("admission asks no sampler")

    def replay(self, token: int) -> None:
        raise AssertionError("admission asks no sampler")

    def close(self) -> None:
        """There is nothing to free."""


@pytest.fixture
def cache() -> KvCache:
    return KvCache(Memory(), streams=2, room=1000 * WIDTH)


@pytest.fixture
def admission(cache: KvCache) -> Admission:
    return Admission(cache)


def attempt(number: int, *, choices: int = 1, background: bool = False, **changes: Any) -> Attempt:
    """Return an attempt whose choices may each fill a context; prompts differ."""
    settings = {"max_length": CONTEXT, "sampler": Closing(), "domain": number} | changes
    return Attempt(
        number=number,
        deadline=1e9,
        keeps_cache=True,
        is_background=background,
        choices=[
            sequence(
                20,
                attempt=number,
                index=index,
                slot=-1,
                is_background=background,
                tokens=[100 * number + index] * 20,
                **settings,
            )
            for index in range(choices)
        ],
    )


def admit(admission: Admission, *attempts: Attempt) -> list[tuple[int, int]]:
    """Let attempts in; return who runs then, as attempt and choice."""
    for each in attempts:
        admission.add(each)
    admission.admit()
    return names(admission.running)


def names(sequences: list[Sequence]) -> list[tuple[int, int]]:
    return sorted((sequence.attempt, sequence.index) for sequence in sequences)


def compute(cache: KvCache, sequence: Sequence, tokens: int) -> None:
    """Move a sequence on, a generated token after its prompt."""
    cache.grow(sequence, tokens)
    sequence.tokens += [7] * (sequence.num_computed + 1 - len(sequence.tokens))


def test_background_gives_way_the_latest_first(admission: Admission) -> None:
    """Each interactive attempt takes the place of one background attempt, not of all."""
    jobs = [attempt(1, background=True), attempt(2, background=True)]
    assert admit(admission, *jobs) == [(1, 0), (2, 0)]
    assert admit(admission, attempt(3)) == [(1, 0), (3, 0)]
    assert admit(admission, attempt(4)) == [(3, 0), (4, 0)]
    assert names(admission.waiting) == [(1, 0), (2, 0)]


def test_the_earliest_goes_on_first(admission: Admission) -> None:
    """When an interactive attempt ends, its place goes to who came first."""
    jobs, talks = [attempt(n, background=True) for n in (1, 2)], [attempt(3), attempt(4)]
    admit(admission, *jobs)
    admit(admission, *talks)
    admission.drop(talks[0], keep=False)
    assert admit(admission) == [(1, 0), (4, 0)]
    admission.drop(talks[1], keep=False)
    assert admit(admission) == [(1, 0), (2, 0)]


def test_further_choices_come_before_background_attempts(admission: Admission) -> None:
    """Somebody waits for them, too; and background's own further choices come last."""
    job = attempt(1, background=True, choices=2)
    assert admit(admission, job) == [(1, 0), (1, 1)]
    assert admit(admission, attempt(2, background=True)) == [(1, 0), (2, 0)]
    assert admit(admission, attempt(3, choices=2)) == [(3, 0), (3, 1)]


def test_a_paused_sequence_goes_on_from_what_is_kept(admission: Admission, cache: KvCache) -> None:
    """What it has computed is kept, so that nothing is to be computed again."""
    job, talk = attempt(1, background=True), attempt(2, choices=2)
    admit(admission, job)
    compute(cache, job.first, 30)
    assert admit(admission, talk) == [(2, 0), (2, 1)]
    assert (job.first.slot, job.first.num_computed, cache.bank.used) == (-1, 0, 30 * WIDTH)
    admission.drop(talk, keep=False)
    admit(admission)
    assert (job.first.num_computed, job.first.num_pending) == (30, 1)
    assert not job.first.is_prefilling
    assert job.num_cached == 0


def test_a_paused_sequence_that_was_given_up_begins_anew(
    admission: Admission, cache: KvCache
) -> None:
    """All that it has said is given then, like a prompt."""
    job, talk = attempt(1, background=True), attempt(2, choices=2)
    admit(admission, job)
    compute(cache, job.first, 30)
    admit(admission, talk)
    cache.make_room(cache.bank.capacity)
    admission.drop(talk, keep=False)
    admit(admission)
    assert (job.first.num_computed, job.first.num_initial) == (0, 31)
    assert job.first.is_prefilling


def test_slots_are_counted_by_urgency(admission: Admission) -> None:
    """An interactive attempt shares with its like, a background one with all."""
    admit(admission, attempt(1, background=True), attempt(2))
    assert admission.num_attempts(background=False) == 1
    assert admission.num_attempts(background=True) == 2
