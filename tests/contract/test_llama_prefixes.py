"""What is kept of ended attempts and used again, on a real llama.cpp."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.inference import ChatMessage, Sampling
from tests.support.llama_loop import Run, load, make_loop, order, run
from workers.llama.cache import Reuse
from workers.llama.context import LlamaContext
from workers.llama.kv_rows import KvRows
from workers.llama.loop import KEPT_AFTER, Loop
from workers.llama.messages import Cancel, Submit

SYSTEM = "you are one of many " * 10
RANDOM = Sampling(temperature=1.2, seed=5)


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


@pytest.fixture
def loop(decoder: LlamaContext) -> Loop:
    return make_loop(decoder)


def answered(loop: Loop, submit: Submit) -> Run:
    """Compute an order until its end is told, and nothing beyond that."""
    loop.handle(submit)
    done = Run()
    while loop.patience == 0:
        done.step(loop)
    return done


def chat(*texts: str) -> tuple[ChatMessage, ...]:
    """Return a conversation that begins with a system text and goes on in turns."""
    turns = [
        ChatMessage(role="assistant" if number % 2 else "user", content=text)
        for number, text in enumerate(texts)
    ]
    return (ChatMessage(role="system", content=SYSTEM), *turns)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), RANDOM], ids=["greedy", "random"])
def test_a_second_turn_computes_only_what_is_new(loop: Loop, sampling: Sampling) -> None:
    """All of the first turn is found in the cache, and the answer is that of a cold cache."""
    first = run(loop, order(1, messages=chat("hi"), sampling=sampling))
    messages = chat("hi", first.text(1), "and now")
    warm = run(loop, order(2, messages=messages, sampling=sampling))
    cold = run(loop, order(3, messages=messages, sampling=sampling, tenant="other"))
    so_far = first.usage(1)
    # The last token that was drawn has never been computed.
    assert warm.usage(2).cached_tokens == so_far.prompt_tokens + so_far.completion_tokens - 1
    assert cold.usage(3).cached_tokens == 0
    assert warm.ids(2) == cold.ids(3)
    assert warm.steps < cold.steps


def test_a_turn_that_comes_at_once_goes_on_where_the_last_one_ended(
    loop: Loop, decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is moved, neither to be kept nor back; what is kept then is both turns in one."""
    moved: list[str] = []

    def tell(name: str, move: Callable[..., Any]) -> Callable[..., Any]:
        def told(*arguments: Any) -> Any:
            moved.append(name)
            return move(*arguments)

        return told

    monkeypatch.setattr(decoder, "save", tell("save", decoder.save))
    monkeypatch.setattr(decoder, "restore", tell("restore", decoder.restore))
    first = answered(loop, order(1, messages=chat("hi")))
    assert loop.patience == KEPT_AFTER
    messages = chat("hi", first.text(1), "and now")
    warm = answered(loop, order(2, messages=messages))
    so_far = first.usage(1)
    assert warm.usage(2).cached_tokens == so_far.prompt_tokens + so_far.completion_tokens - 1
    assert moved == []
    assert warm.ids(2) == run(make_loop(decoder), order(2, messages=messages)).ids(2)
    moved.clear()
    warm.finish(loop)
    assert moved == ["save"]
    assert loop.is_idle
    loop.cache.make_room(loop.cache.bank.capacity)
    assert sorted(loop.report().evicted) == [1, 2]


@pytest.mark.parametrize(
    "other",
    [{"messages": chat("ho")}, {"messages": chat("hi"), "tenant": "b"}],
    ids=["another text", "another tenant"],
)
def test_whoever_else_comes_at_once_finds_the_last_one_kept(
    loop: Loop, other: dict[str, Any]
) -> None:
    """Only what goes on from all of an ended sequence takes its place."""
    first = answered(loop, order(1, messages=chat("hi")))
    assert loop.cache.bank.used == 0
    run(loop, order(2, **other))
    again = run(loop, order(3, messages=chat("hi", first.text(1), "and now")))
    so_far = first.usage(1)
    assert again.usage(3).cached_tokens == so_far.prompt_tokens + so_far.completion_tokens - 1


def test_nothing_is_shared_between_tenants(loop: Loop) -> None:
    """The same prompt of another tenant finds nothing and takes memory of its own."""
    secret = "my canary is 4711 " * 5
    run(loop, order(1, secret, tenant="a"))
    before = loop.cache.bank.used
    own, other = run(loop, order(2, secret, tenant="a")), run(loop, order(3, secret, tenant="b"))
    assert own.usage(2).cached_tokens == own.usage(2).prompt_tokens - 1
    assert other.usage(3).cached_tokens == 0
    assert other.ids(3) == own.ids(2)
    assert loop.cache.bank.used == 2 * before
    assert {kept.domain for kept in loop.cache.prefixes} == {"a", "b"}


def test_without_cache_prompt_nothing_is_used_or_kept(loop: Loop) -> None:
    """A request may stay out of the cache altogether; its end is told at once."""
    run(loop, order(1))
    before = loop.cache.bank.used
    apart = run(loop, order(2, cache_prompt=False))
    assert apart.usage(2).cached_tokens == 0
    assert apart.evicted == [2]
    assert loop.cache.bank.used == before


def test_conversations_hold_their_common_beginning_once(loop: Loop) -> None:
    """However many share a system text, at once or one after another, it is kept once."""
    first = run(loop, order(0, messages=chat("a"), max_tokens=2))
    token = loop.cache.bank.used / (first.usage(0).prompt_tokens + 1)
    together = run(loop, *(order(n, messages=chat("b" * n), max_tokens=2) for n in range(1, 5)))
    common = len(SYSTEM)
    assert all(together.usage(n).cached_tokens > common for n in range(1, 5))
    kept = loop.cache.bank.used / token
    assert kept < common + 5 * (first.usage(0).prompt_tokens - common + 10)


def test_prompts_that_arrive_together_are_computed_once(loop: Loop) -> None:
    """A prompt waits for one that is just being computed and begins the same."""
    both = run(loop, *(order(n, messages=chat("c" * n)) for n in (1, 2, 3)))
    assert both.usage(1).cached_tokens == 0
    assert min(both.usage(2).cached_tokens, both.usage(3).cached_tokens) > len(SYSTEM)


def test_the_oldest_gives_way_when_memory_is_short(decoder: LlamaContext) -> None:
    """What was used last stays, what is gone is told, and memory is bounded."""
    loop = make_loop(decoder)
    run(loop, order(1, "a" * 66))
    one = loop.cache.bank.used
    loop = make_loop(decoder, room=5 * one // 2)
    seen = run(loop, order(1, "a" * 66), order(2, "b" * 66))
    assert seen.evicted == []
    third = run(loop, order(3, "c" * 66))
    assert third.evicted == [1]
    assert one < loop.cache.bank.used <= 2 * one
    again = run(loop, order(4, "b" * 66))
    assert again.usage(4).cached_tokens == again.usage(4).prompt_tokens - 1


def test_what_is_larger_than_the_memory_evicts_nothing(decoder: LlamaContext) -> None:
    """A sequence that cannot be kept is told as gone, and others stay."""
    loop = make_loop(decoder)
    run(loop, order(1, "a" * 66))
    loop = make_loop(decoder, room=3 * loop.cache.bank.used // 2)
    seen = run(loop, order(1, "a" * 66))
    assert run(loop, order(2, "b" * 300)).evicted == [2]
    assert seen.evicted == []
    assert run(loop, order(3, "a" * 66)).usage(3).cached_tokens > 66


def test_gaps_between_running_sequences_are_closed(
    decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When two in the middle end, the last takes their place, and says what it would have said."""
    moves: list[tuple[int, int]] = []
    move = decoder.move

    def moved(source: int, target: int) -> bool:
        moves.append((source, target))
        return move(source, target)

    monkeypatch.setattr(decoder, "move", moved)
    texts = ["one", "two", "three", "four"]
    alone = [run(make_loop(decoder), order(n, text)).ids(n) for n, text in enumerate(texts)]
    assert moves == []
    done = run(
        make_loop(decoder),
        *(order(n, text, max_tokens=2 if n in (1, 2) else 16) for n, text in enumerate(texts)),
    )
    assert moves == [(3, 1)]
    assert (done.ids(0), done.ids(3)) == (alone[0], alone[3])


def test_a_turn_that_lives_on_in_the_next_is_not_evicted(loop: Loop) -> None:
    """The next turn holds all of it; both turns are gone only when that goes."""
    first = run(loop, order(1, messages=chat("hi")))
    second = run(loop, order(2, messages=chat("hi", first.text(1), "more")))
    assert first.evicted == second.evicted == []
    assert len(loop.cache.prefixes) == 1
    loop.cache.make_room(loop.cache.bank.capacity)
    assert sorted(loop.report().evicted) == [1, 2]
    assert loop.cache.bank.used == 0


def test_a_cancelled_prompt_is_kept_as_far_as_it_was_computed(loop: Loop) -> None:
    """The same request again goes on where the first was cancelled; nothing is said of it."""
    loop.handle(order(1, "e" * 300))
    loop.step()
    loop.handle(Cancel(1))
    again = run(loop, order(2, "e" * 300))
    assert 0 < again.usage(2).cached_tokens < 300
    loop.cache.make_room(loop.cache.bank.capacity)
    assert loop.report().evicted == (2,)


def test_a_memory_that_cannot_be_saved_is_never_reused(decoder: LlamaContext) -> None:
    """Everything is computed each time, and the answers are the same."""
    whole = run(make_loop(decoder), order(1, n=2))
    loop = make_loop(decoder)
    loop.cache.reuse = Reuse.NONE
    first, second = run(loop, order(1, n=2)), run(loop, order(2))
    assert second.usage(2).cached_tokens == 0
    assert [first.ids(1, n) for n in (0, 1)] == [whole.ids(1, n) for n in (0, 1)]
    assert second.ids(2) == whole.ids(1)
    assert sorted(first.evicted + second.evicted) == [1, 2]
    assert loop.cache.bank.used == 0


def test_a_memory_that_cannot_be_cut_is_used_again_as_a_whole(
    decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A next turn goes on from all of the last; a common beginning alone is of no use."""
    cold = run(make_loop(decoder), order(1, messages=chat("hi")))
    messages = chat("hi", cold.text(1), "and now")
    expected = run(make_loop(decoder), order(2, messages=messages)).ids(2)
    monkeypatch.setattr(KvRows, "of", lambda _state, _tokens: None)
    loop = make_loop(decoder)
    assert loop.cache.reuse is Reuse.WHOLE
    first = run(loop, order(1, messages=chat("hi")))
    second = run(loop, order(2, messages=messages))
    so_far = first.usage(1)
    assert second.usage(2).cached_tokens == so_far.prompt_tokens + so_far.completion_tokens - 1
    assert second.ids(2) == expected
    assert run(loop, order(3, messages=chat("ho"))).usage(3).cached_tokens == 0
