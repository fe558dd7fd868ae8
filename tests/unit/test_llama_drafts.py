"""Drafts by prompt lookup, and how many of their tokens pay."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.llama.drafts import MAX_ROWS, PROBE_EVERY, SHORTEST, DraftBudget, Drafter

TOKENS = st.lists(st.integers(0, 3), max_size=60)
CPU = {1: 4.5, 4: 8.3, 8: 17.5, 16: 36.0}
"""Milliseconds of a step by its rows: a 300M model on two cores."""
FLAT = {1: 10.0, 16: 14.0}
"""A machine where the weights' bandwidth is all that counts."""
STEEP = {1: 5.0, 16: 80.0}
"""A machine on which every row costs what a step costs: no draft can pay."""


def seconds(rows: int, shape: dict[int, float]) -> float:
    for (low, fast), (high, slow) in pairwise(sorted(shape.items())):
        if low <= rows <= high:
            return (fast + (slow - fast) * (rows - low) / (high - low)) / 1000
    raise AssertionError(f"{rows} rows are more than the batch holds")


def speedup(
    prompt: Sequence[int], answer: Sequence[int], shape: dict[int, float], *, noise: float = 0.0
) -> float:
    """Return plain decoding's time over that with drafts, both by the cost of their steps."""
    dice = random.Random(1)  # noqa: S311 - repeatable, nothing secret
    drafter, budget = Drafter(prompt), DraftBudget()
    budget.note(1, seconds(1, shape))
    at, taken = 0, 0.0
    while at < len(answer):
        draft = drafter.draft(budget.limit(1, drafter.acceptance))
        right = count_right(draft, answer[at:])
        spent = seconds(1 + len(draft), shape)
        budget.note(1 + len(draft), spent * dice.uniform(1, 1 + noise))
        drafter.judge(len(draft), right)
        for token in answer[at : at + right + 1]:
            drafter.push(token)
        at, taken = at + right + 1, taken + spent
    return len(answer) * seconds(1, shape) / taken


def count_right(draft: Sequence[int], truth: Sequence[int]) -> int:
    right = 0
    while right < min(len(draft), len(truth)) and draft[right] == truth[right]:
        right += 1
    return right


def words(path: str) -> list[int]:
    """Return a real text as tokens: a number for each of its words."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(word, len(numbers)) for word in Path(path).read_text().split()]


@given(prompt=TOKENS, answer=TOKENS, limit=st.integers(0, 20))
def test_a_draft_is_what_followed_the_same_tokens_earlier(
    prompt: list[int], answer: list[int], limit: int
) -> None:
    """Whatever the history, a draft is a piece of it behind tokens like the last ones."""
    drafter = Drafter(prompt)
    history = list(prompt)
    for token in [*answer, None]:
        draft = drafter.draft(limit)
        assert len(draft) <= limit
        end = history[-SHORTEST:]
        assert not draft or any(
            history[at - SHORTEST : at] == end and history[at : at + len(draft)] == draft
            for at in range(SHORTEST, len(history))
        )
        if token is not None:
            drafter.push(token)
            history.append(token)


@given(st.lists(st.integers(0, 1), max_size=8))
def test_prompt_and_answer_are_one_history(tokens: list[int]) -> None:
    """It makes no difference to the guess whether a token was given or pushed."""
    pushed = Drafter([])
    for token in tokens:
        pushed.push(token)
    assert pushed.draft(20) == Drafter(tokens).draft(20)


def test_the_longest_match_wins() -> None:
    """Of two places with the same last tokens the one with more before them is followed."""
    drafter = Drafter([1, 2, 3, 10, 11, 7, 2, 3, 20, 21, 1, 2, 3])
    assert drafter.draft(2) == [10, 11]


def test_the_latest_of_equal_matches_wins() -> None:
    """What was said last is likelier to be said again."""
    drafter = Drafter([2, 3, 10, 7, 2, 3, 20, 8, 2, 3])
    assert drafter.draft(1) == [20]


def test_a_copied_passage_is_followed() -> None:
    """While the copy goes on, every draft continues where the last one ended."""
    passage = list(range(100))
    drafter = Drafter([*passage, 500, 0, 1])
    for at in range(2, 90, 6):
        assert drafter.draft(6) == passage[at : at + 6]
        for token in passage[at : at + 6]:
            drafter.push(token)
    assert drafter.acceptance > 0.9


def test_nothing_repeated_gives_no_draft() -> None:
    """Without an earlier occurrence there is no guess, and no acceptance."""
    drafter = Drafter(range(50))
    assert (drafter.draft(8), drafter.acceptance) == ([], 0.0)
    assert Drafter([]).draft(8) == Drafter([1]).draft(8) == []


def test_guesses_are_counted_without_being_drafted() -> None:
    """Pushed tokens alone show that following does not work here."""
    drafter = Drafter([1, 2, 3])
    first = []
    for number in range(20):
        for token in (1, 2):
            drafter.push(token)
        first.append(drafter.acceptance)
        drafter.push(100 + number)
    assert first[-1] < first[0] / 3


def test_a_rejected_draft_is_followed_by_a_pause_that_doubles() -> None:
    """Tokens that no draft is tried for: 8, then 16; an accepted one starts over."""
    drafter = Drafter([5] * 20)
    assert [_pause(drafter, accepted) for accepted in (0, 0, 3, 0)] == [8, 16, 0, 8]


def _pause(drafter: Drafter, accepted: int) -> int:
    drafter.judge(4, accepted)
    quiet = 0
    while not drafter.draft(4):
        drafter.push(5)
        quiet += 1
    return quiet


@pytest.mark.parametrize(("shape", "least"), [(CPU, 1.5), (FLAT, 3.0)], ids=["CPU", "flat"])
def test_quoting_is_at_least_half_as_fast_again(shape: dict[int, float], least: float) -> None:
    """An answer that quotes its prompt after a few words of its own takes fewer steps."""
    dice = random.Random(3)  # noqa: S311 - repeatable, nothing secret
    prompt = [dice.randrange(2000) for _ in range(400)]
    answer = [*range(3000, 3010), *prompt[100:300], *range(4000, 4005)]
    assert speedup(prompt, answer, shape, noise=0.3) >= least


@pytest.mark.parametrize("shape", [CPU, FLAT, STEEP], ids=["CPU", "flat", "steep"])
@pytest.mark.parametrize("vocabulary", [50, 500, 30_000])
def test_random_text_is_not_slowed_down(shape: dict[int, float], vocabulary: int) -> None:
    """Chance repetitions, many with a small vocabulary, are not taken for quotations."""
    dice = random.Random(4)  # noqa: S311 - repeatable, nothing secret
    prompt = [dice.randrange(vocabulary) for _ in range(400)]
    answer = [dice.randrange(vocabulary) for _ in range(400)]
    assert speedup(prompt, answer, shape, noise=0.3) >= 0.98


@pytest.mark.parametrize("shape", [CPU, FLAT, STEEP], ids=["CPU", "flat", "steep"])
@pytest.mark.parametrize("name", ["README.md", "LICENSE", "docs/architecture.md"])
def test_ordinary_text_is_not_slowed_down(shape: dict[int, float], name: str) -> None:
    """Prose repeats phrases without quoting."""
    text = words(name)
    assert speedup(text[:300], text[300:800], shape, noise=0.3) >= 0.98


def test_text_that_starts_quotations_and_breaks_them_off_is_not_slowed_down() -> None:
    """The worst case: every match ends as soon as a draft would be made of it."""
    dice = random.Random(5)  # noqa: S311 - repeatable, nothing secret
    prompt = [dice.randrange(2000) for _ in range(400)]
    answer: list[int] = []
    for number in range(80):
        start = dice.randrange(380)
        answer += [*prompt[start : start + 5], 5000 + number]
    assert speedup(prompt, answer, CPU) >= 0.98


def test_no_draft_where_rows_cost_as_much_as_steps() -> None:
    """However good the guesses, nothing is gained by computing them in one step."""
    budget = DraftBudget()
    for rows in range(1, MAX_ROWS + 1):
        budget.note(rows, seconds(rows, STEEP))
    assert [budget.limit(1, 0.99) for _ in range(10)] == [0] * 10


def test_better_guesses_make_longer_drafts() -> None:
    """The length rises with the acceptance; where several run, all of them try as many."""
    budget = DraftBudget()
    for rows in (1, 4, 8, 16):
        budget.note(rows, seconds(rows, FLAT))
    lengths = [budget.limit(1, acceptance) for acceptance in (0.0, 0.2, 0.6, 0.9, 1.0)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, MAX_ROWS - 1)
    assert 0 < budget.limit(4, 1.0) < MAX_ROWS // 4
    assert budget.limit(10, 1.0) == budget.limit(MAX_ROWS, 1.0) == budget.limit(40, 1.0) == 0


def test_a_step_slowed_by_others_does_not_end_drafting_for_good() -> None:
    """Seldom, a draft that should not pay is tried, and a bad measurement heals."""
    budget = DraftBudget()
    budget.note(1, seconds(1, FLAT))
    for rows in range(2, MAX_ROWS + 1):
        budget.note(rows, 100 * seconds(rows, FLAT))
    limits = [budget.limit(1, 0.95) for _ in range(PROBE_EVERY)]
    assert limits[:-1] == [0] * (PROBE_EVERY - 1)
    for _ in range(100 * PROBE_EVERY):
        if limit := budget.limit(1, 0.95):
            budget.note(1 + limit, seconds(1 + limit, FLAT))
    assert budget.limit(1, 0.95) > 0
