"""Background attempts give way to interactive ones and lose nothing, on a real llama.cpp."""

from collections import Counter
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import pytest

from schemas.failures import FailureCode
from schemas.inference import Sampling, Urgency
from tests.support.llama_loop import GREEDY, ROOM, Run, load, make_loop, order, run
from workers.llama.context import LlamaContext
from workers.llama.loop import Loop
from workers.llama.messages import Cancel, Submit
from workers.llama.sequence import Work

SLOTS, CONTEXT = 2, 192
RANDOM = Sampling(temperature=1.0, seed=25)
REGEX = {"type": "regex", "pattern": "(one |two |three ){40}"}
LONG: dict[str, Any] = {"max_tokens": 60}


class Spy:
    """Sees what a model computes.

    prefilled: tokens of each attempt that were given, or computed before. steps: who took part.
    """

    def __init__(self, decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefilled: Counter[int] = Counter()
        self.steps: list[set[int]] = []
        decode = decoder.decode

        def seen(plan: Items[Work], idle: Items[int] = ()) -> list[int]:
            self.steps.append({work.sequence.attempt for work in plan})
            for work in plan:
                if work.sequence.is_prefilling:
                    self.prefilled[work.sequence.attempt] += len(work.tokens)
            return decode(plan, idle)

        monkeypatch.setattr(decoder, "decode", seen)


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model, slots=SLOTS, context=CONTEXT)


@pytest.fixture
def spy(decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(decoder, monkeypatch)


def new_loop(decoder: LlamaContext, room: int = ROOM) -> Loop:
    return make_loop(decoder, slots=SLOTS, context=CONTEXT, room=room)


def background(attempt: int, text: str = "hello", **changes: Any) -> Submit:
    return order(attempt, text, urgency=Urgency.BACKGROUND, **changes)


def whole(attempt: int, text: str) -> Submit:
    """Return an interactive order that may fill a context: it needs a whole place."""
    return order(attempt, text, max_tokens=None)


def interrupted(loop: Loop, orders: list[Submit], after: int, *others: Submit) -> Run:
    """Compute orders, have others come after so many steps, and return all that came of it."""
    for each in orders:
        loop.handle(each)
    steps = [loop.step() for _ in range(after)]
    done = run(loop, *others)
    done.outputs[:0] = [output for step in steps for output in step.outputs]
    return done


@pytest.mark.parametrize("after", [1, 3, 8], ids=["in prefill", "early", "in mid answer"])
@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": GREEDY},
        {"sampling": RANDOM},
        {"sampling": RANDOM, "response_format": REGEX},
        {"sampling": GREEDY, "n": 3},
        {"sampling": RANDOM, "cache_prompt": False},
    ],
    ids=["greedy", "seeded", "grammar", "choices", "apart"],
)
def test_a_paused_answer_is_the_same_token_by_token(
    decoder: LlamaContext, after: int, changes: dict[str, Any]
) -> None:
    """Interactive attempts that take all places meanwhile change nothing but the time."""
    work = background(1, "tell me more " * 5, **LONG | changes)
    alone = run(new_loop(decoder), work)
    loop = new_loop(decoder)
    done = interrupted(loop, [work], after, whole(2, "a" * 60), whole(3, "b" * 60))
    first, second, last = [o.attempt for o in done.outputs if o.reason]
    assert ({first, second}, last) == ({2, 3}, 1)
    for index in range(changes.get("n", 1)):
        assert done.ids(1, index) == alone.ids(1, index)
        assert done.text(1, index) == alone.text(1, index)
    assert done.usage(1) == alone.usage(1)


def test_an_interactive_attempt_has_its_slot_though_background_ones_hold_all(
    decoder: LlamaContext,
) -> None:
    """Both slots are taken, and two more attempts are accepted; a third of either kind is not."""
    loop = new_loop(decoder)
    for number in (1, 2):
        loop.handle(background(number, **LONG))
    loop.step()
    for number in (3, 4, 5):
        loop.handle(whole(number, "x"))
    loop.handle(background(6))
    refused = {o.attempt for o in loop.step().outputs if o.failure is FailureCode.BUSY}
    assert refused == {5, 6}
    done = run(loop)
    assert {o.attempt for o in done.outputs if o.reason} == {1, 2, 3, 4}


def test_nothing_is_computed_twice_while_there_is_memory(decoder: LlamaContext, spy: Spy) -> None:
    """A sequence that gave way goes on from what is kept of it."""
    loop = new_loop(decoder)
    work = background(1, "w" * 40, **LONG)
    others = [order(n, "x", max_tokens=None, stop=(" ",)) for n in (2, 3)]
    done = interrupted(loop, [work], 20, *others)
    assert [o.attempt for o in done.outputs if o.reason][-1] == 1
    assert spy.prefilled[1] == done.usage(1).prompt_tokens
    assert done.usage(1).cached_tokens == 0


def test_what_could_not_be_kept_is_computed_again(decoder: LlamaContext, spy: Spy) -> None:
    """Without memory for what paused sequences leave they begin anew."""
    loop = new_loop(decoder, room=0)
    work = background(1, "w" * 40, **LONG)
    done = interrupted(loop, [work], 20, whole(2, "a" * 60), whole(3, "b" * 60))
    assert spy.prefilled[1] > 2 * done.usage(1).prompt_tokens


def test_no_background_token_is_computed_beside_an_interactive_prompt(
    decoder: LlamaContext, spy: Spy
) -> None:
    """From its arrival to its first token an interactive request has every step for itself."""
    loop = new_loop(decoder)
    for number in (1, 2):
        loop.handle(background(number, "w" * 30, **LONG))
    for _ in range(10):
        loop.step()
    loop.handle(order(3, "q" * 150, max_tokens=4))
    spy.steps.clear()
    while not any(o.attempt == 3 for o in loop.step().outputs):
        pass
    assert spy.steps == [{3}] * len(spy.steps)
    assert len(spy.steps) >= 3
    assert {1, 2} <= {o.attempt for o in run(loop).outputs if o.reason}


def test_a_paused_attempt_ends_at_its_deadline_or_when_it_is_cancelled(
    decoder: LlamaContext,
) -> None:
    """Nobody waits for ever behind interactive requests, and nothing is left of who gave up."""
    loop = new_loop(decoder)
    late = Submit(1, remaining_ms=200, request=background(1, **LONG).request)
    loop.handle(late)
    loop.handle(background(2, cache_prompt=False, **LONG))
    for _ in range(5):
        loop.step()
    for number in (3, 4):
        loop.handle(whole(number, "x" * 20))
    loop.step()
    loop.handle(Cancel(2))
    assert 2 not in {kept.domain for kept in loop.cache.prefixes}
    done = run(loop)
    assert done.end(1).failure is FailureCode.DEADLINE_EXCEEDED
    assert not done.of(2)
    assert {o.attempt for o in done.outputs if o.reason} == {3, 4}


def test_background_work_counts_as_free(decoder: LlamaContext) -> None:
    """What background sequences hold of the cache is free for interactive requests."""
    loop = new_loop(decoder)
    loop.handle(background(1, "w" * 40, **LONG))
    for _ in range(5):
        step = loop.step()
    assert step.kv_free == SLOTS * CONTEXT
    loop.handle(order(2, "w" * 40))
    loop.step()
    assert loop.step().kv_free < SLOTS * CONTEXT


def test_conversations_outlive_background_work(decoder: LlamaContext) -> None:
    """A stream of background attempts evicts its own prefixes before those of conversations."""
    loop = new_loop(decoder)
    talk = run(loop, order(1, "a conversation " * 4))
    for number in range(2, 12):
        assert 1 not in run(loop, background(number, f"job {number} " * 8)).evicted
    again = run(loop, order(20, "a conversation " * 4))
    assert again.usage(20).cached_tokens == talk.usage(1).prompt_tokens - 1


def test_an_interactive_prompt_does_not_wait_for_a_background_one(
    decoder: LlamaContext, spy: Spy
) -> None:
    """A prompt that begins like one that background work is computing is computed at once."""
    loop = new_loop(decoder)
    loop.handle(background(1, "s" * 150, **LONG))
    loop.step()
    loop.handle(order(2, "s" * 150 + "t", max_tokens=2))
    spy.steps.clear()
    while not any(o.attempt == 2 for o in loop.step().outputs):
        pass
    assert spy.steps == [{2}] * len(spy.steps)
