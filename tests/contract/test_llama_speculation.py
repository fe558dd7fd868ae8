"""Drafts change how fast tokens come, never which; on a real llama.cpp."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.inference import Sampling
from tests.support.llama_loop import Run, load, make_loop, order, run
from tests.support.tiny_model import end_token
from workers.llama import intake, speculation
from workers.llama.context import LlamaContext
from workers.llama.loop import Loop

RANDOM = Sampling(temperature=0.7, seed=3)
GREEDY = Sampling(temperature=0)


class Oracle:
    """Drafts what it was told the answer is, from wherever the sequence has got to."""

    answer: tuple[int, ...] = ()
    acceptance = 1.0

    def __init__(self, tokens: Sequence[int]) -> None:
        self._at = 0
        self.judged: list[tuple[int, int]] = []

    def push(self, token: int) -> None:
        self._at += 1

    def draft(self, limit: int) -> list[int]:
        return list(self.answer[self._at : self._at + limit])

    def judge(self, drafted: int, accepted: int) -> None:
        self.judged.append((drafted, accepted))


class Liar(Oracle):
    """Always drafts garbage, even the token that ends an answer."""

    def draft(self, limit: int) -> list[int]:
        return [7, end_token(), 0, 255][:limit]


class Generous:
    """Grants every draft."""

    def limit(self, running: int, acceptance: float) -> int:
        return 6

    def note(self, rows: int, seconds: float) -> None:
        """Learn nothing."""


class Silent(Oracle):
    """Drafts nothing."""

    acceptance = 0.0


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


@pytest.fixture
def loop(decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(speculation, "DraftBudget", Generous)
    return make_loop(decoder)


def plain_and_drafted(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, drafter: type[Oracle], **changes: Any
) -> tuple[Run, Run]:
    """Compute a request without drafts, then with them, each in a cache without the other."""
    monkeypatch.setattr(intake, "Drafter", Silent)
    whole = run(loop, order(1, tenant="a", **changes | {"stop": (), "max_tokens": 40}))
    plain = run(loop, order(2, tenant="b", **changes))
    drafter.answer = whole.ids(1)
    monkeypatch.setattr(intake, "Drafter", drafter)
    return plain, run(loop, order(2, tenant="c", **changes))


@pytest.mark.parametrize("drafter", [Oracle, Liar])
@pytest.mark.parametrize("sampling", [GREEDY, RANDOM], ids=["greedy", "random"])
@pytest.mark.parametrize("max_tokens", [1, 2, 5, 16])
def test_drafts_change_no_token(
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    drafter: type[Oracle],
    sampling: Sampling,
    max_tokens: int,
) -> None:
    """Right or wrong, and also where the limit falls within a draft, the answer is the same."""
    plain, drafted = plain_and_drafted(
        loop, monkeypatch, drafter, sampling=sampling, max_tokens=max_tokens
    )
    assert drafted.ids(2) == plain.ids(2)
    assert drafted.end(2) == plain.end(2)
    assert len(drafted.ids(2)) == max_tokens


def test_right_drafts_take_fewer_steps(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tokens come out of one step, and the cache holds just them."""
    plain, drafted = plain_and_drafted(loop, monkeypatch, Oracle, max_tokens=30)
    assert drafted.steps < plain.steps / 2
    assert drafted.text(2) == plain.text(2)


@pytest.mark.parametrize("drafter", [Oracle, Liar])
def test_a_stop_text_within_a_draft_ends_the_answer_there(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, drafter: type[Oracle]
) -> None:
    """What was drafted beyond it is neither shown nor counted nor kept."""
    monkeypatch.setattr(intake, "Drafter", Silent)
    stop = run(loop, order(9)).text(9)[4:6]
    plain, drafted = plain_and_drafted(loop, monkeypatch, drafter, stop=(stop,))
    assert drafted.text(2) == plain.text(2)
    assert drafted.end(2) == plain.end(2)
    (kept,) = [kept for kept in loop.cache.prefixes if kept.domain == "c"]
    usage = drafted.usage(2)
    assert len(kept.tokens) <= usage.prompt_tokens + usage.completion_tokens


def test_what_follows_a_drafted_answer_is_right(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejected tokens leave no trace in the cache that the next turn takes over."""
    monkeypatch.setattr(intake, "Drafter", Silent)
    cold = run(loop, order(1, messages=(), prompt="abc", max_tokens=12))
    on = (*b"abc", *cold.ids(1), *b"def")
    expected = run(loop, order(2, messages=(), prompt=on, tenant="cold"))
    monkeypatch.setattr(intake, "Drafter", Liar)
    run(loop, order(3, messages=(), prompt="abc", max_tokens=12, tenant="warm"))
    warm = run(loop, order(4, messages=(), prompt=on, tenant="warm"))
    assert warm.usage(4).cached_tokens == 3 + 12 - 1
    assert warm.ids(4) == expected.ids(2)


def test_min_tokens_and_penalties_hold_within_a_draft(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler's state moves on token by token, as without drafts."""
    sampling = Sampling(
        temperature=0,
        min_tokens=7,
        frequency_penalty=0.5,
        logit_bias={str(end_token()): 100.0},
    )
    plain, drafted = plain_and_drafted(loop, monkeypatch, Oracle, sampling=sampling)
    assert drafted.ids(2) == plain.ids(2)
    assert (len(drafted.ids(2)), drafted.end(2).reason) == (7, "stop")


def test_streams_side_by_side_are_drafted_each(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several sequences verifies its own draft."""
    monkeypatch.setattr(intake, "Drafter", Silent)
    texts = ["one", "two", "three"]
    plain = run(loop, *(order(n, text, tenant="a") for n, text in enumerate(texts)))
    monkeypatch.setattr(intake, "Drafter", Liar)
    drafted = run(loop, *(order(n, text, tenant="b") for n, text in enumerate(texts)))
    assert [drafted.ids(n) for n in range(3)] == [plain.ids(n) for n in range(3)]


def test_the_real_drafter_changes_nothing(decoder: LlamaContext) -> None:
    """A prompt that repeats itself is drafted from, with the same answer."""
    text = "quote the passage and quote the passage and quote the passage"
    warm = run(make_loop(decoder), order(1, text, max_tokens=60))
    loop = make_loop(decoder)
    loop.can_draft = False
    assert run(loop, order(1, text, max_tokens=60)).ids(1) == warm.ids(1)
