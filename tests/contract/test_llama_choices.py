"""Several choices, log-probabilities, samplers and raw prompts, on a real llama.cpp."""

import math
from pathlib import Path

import pytest

from schemas.failures import FailureCode
from schemas.inference import Sampling
from tests.support.llama_loop import CONTEXT, GREEDY, load, make_loop, order, run
from tests.support.tiny_model import end_token
from workers.llama.context import LlamaContext
from workers.llama.loop import Loop
from workers.llama.messages import Cancel

RANDOM = Sampling(temperature=1.5, seed=11)
PROMPT = "a prompt that is long enough to be worth sharing"


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


@pytest.fixture
def loop(decoder: LlamaContext) -> Loop:
    return make_loop(decoder)


def test_choices_differ_by_seed_and_repeat(loop: Loop) -> None:
    """The first choice is that of a single request, the others are their own, and all repeat."""
    single = run(loop, order(1, PROMPT, sampling=RANDOM))
    first = run(loop, order(2, PROMPT, sampling=RANDOM, n=4))
    again = run(loop, order(3, PROMPT, sampling=RANDOM, n=4))
    texts = [first.text(2, index) for index in range(4)]
    assert texts[0] == single.text(1)
    assert len(set(texts)) == 4
    assert [again.text(3, index) for index in range(4)] == texts


def test_choices_share_the_prompt_and_count_it_once(loop: Loop) -> None:
    """It is computed once, usage names it once and every choice's tokens; nothing is left of it."""
    done = run(loop, order(1, PROMPT, n=5, max_tokens=4, sampling=RANDOM, cache_prompt=False))
    usage = done.usage(1)
    assert usage.completion_tokens == 20
    assert usage.cached_tokens == 0
    loop.handle(order(2, PROMPT, n=5, max_tokens=4, sampling=RANDOM, cache_prompt=False))
    prefilled = 0
    while not loop.cache.bank.used:
        prefilled += loop.step().prefilled
    for _ in range(2):
        prefilled += loop.step().prefilled
    assert prefilled < 2 * usage.prompt_tokens
    loop.handle(Cancel(2))
    loop.step()
    assert loop.is_idle
    assert loop.cache.bank.used == 0


def test_every_choice_says_how_it_ended(loop: Loop) -> None:
    """Each has a finish reason of its own; the attempt ends with the last of them."""
    stop = run(loop, order(1, PROMPT, sampling=RANDOM)).text(1)[4:7]
    done = run(loop, order(2, PROMPT, sampling=RANDOM, n=3, stop=(stop,)))
    reasons = [[o.finish_reason for o in done.of(2, n) if o.finish_reason] for n in range(3)]
    assert reasons[0] == ["stop"]
    assert [len(found) for found in reasons] == [1, 1, 1]
    assert "length" in reasons[1] + reasons[2]
    assert done.end(2).reason == "stop"
    assert done.outputs[-1] is done.end(2)


def test_choices_beyond_the_room_wait_their_turn(decoder: LlamaContext) -> None:
    """With room for two sequences, eight choices are computed all the same."""
    loop = make_loop(decoder, slots=2, context=128)
    done = run(loop, order(1, "x", n=8, max_tokens=None, sampling=RANDOM))
    assert all(len(done.ids(1, index)) > 50 for index in range(8))


def test_further_choices_give_way_to_other_attempts(decoder: LlamaContext) -> None:
    """A later attempt has its guaranteed place at once; what gave way is computed again."""
    loop = make_loop(decoder, slots=2, context=128)
    alone = run(loop, order(1, "x", n=4, max_tokens=None))
    loop = make_loop(decoder, slots=2, context=128)
    loop.handle(order(1, "x", n=4, max_tokens=None))
    before = [loop.step() for _ in range(10)]
    done = run(loop, order(2, "y", max_tokens=None))
    done.outputs[:0] = [output for step in before for output in step.outputs]
    ends = [o.attempt for o in done.outputs if o.reason]
    assert ends == [2, 1]
    assert [done.ids(1, n) for n in range(4)] == [alone.ids(1, n) for n in range(4)]


def test_logprobs_are_those_of_the_model(loop: Loop) -> None:
    """Every shown token has an item; the greedy token is the likeliest, and sums stay below 1."""
    done = run(loop, order(1, logprobs=3))
    items = [item for output in done.of(1) for item in output.logprobs or ()]
    assert [item["token"] for item in items] == [chr(token) for token in done.ids(1)]
    for item in items:
        top = item["top_logprobs"]
        assert top[0]["token"] == item["token"]
        assert top[0]["logprob"] == item["logprob"]
        assert top[0]["logprob"] >= top[1]["logprob"] >= top[2]["logprob"]
        assert sum(math.exp(each["logprob"]) for each in top) <= 1.0001
        assert item["bytes"] == list(item["token"].encode())


def test_logprobs_stay_with_text_that_is_held_back(loop: Loop) -> None:
    """While a stop text may begin, tokens wait with their items; cut ones are not reported."""
    whole = run(loop, order(1, logprobs=0, max_tokens=12))
    text = whole.text(1)
    cut = run(loop, order(2, logprobs=0, max_tokens=12, stop=(text[5:8], text[2:4] + "#")))
    items = [item for output in cut.of(2) for item in output.logprobs or ()]
    assert "".join(item["token"] for item in items) == cut.text(2) == text[: len(items)]
    assert len(items) == len(cut.ids(2)) == text.index(text[5:8])


def test_logprobs_change_neither_tokens_nor_resuming(loop: Loop) -> None:
    """The same tokens come with and without, and a resumed stream reports only what is new."""
    plain = run(loop, order(1, sampling=RANDOM))
    resumed = run(loop, order(2, sampling=RANDOM, logprobs=1, emitted=plain.ids(1)[:6]))
    items = [item for output in resumed.of(2) for item in output.logprobs or ()]
    assert resumed.ids(2) == plain.ids(1)[6:]
    assert len(items) == len(resumed.ids(2))


def test_a_stop_token_ends_the_output_and_is_no_part_of_it(loop: Loop) -> None:
    """The output ends before the token, with the reason stop."""
    whole = run(loop, order(1)).ids(1)
    sampling = Sampling(temperature=0, stop_token_ids=(whole[5],))
    cut = run(loop, order(2, sampling=sampling))
    assert cut.ids(2) == whole[: whole.index(whole[5])]
    assert cut.end(2).reason == "stop"


def test_min_tokens_hold_off_the_end(loop: Loop) -> None:
    """A model that would end at once goes on for as long, also when it is resumed, then ends."""
    sampling = Sampling(temperature=0, min_tokens=5, logit_bias={str(end_token()): 100.0})
    done = run(loop, order(1, sampling=sampling))
    assert len(done.ids(1)) == 5
    assert done.end(1).reason == "stop"
    resumed = run(loop, order(2, sampling=sampling, emitted=done.ids(1)[:2]))
    assert resumed.ids(2) == done.ids(1)[2:]


def test_ignore_eos_goes_on_to_the_limit(loop: Loop) -> None:
    """The model's own end is never drawn."""
    sampling = Sampling(temperature=0, ignore_eos=True, logit_bias={str(end_token()): 100.0})
    done = run(loop, order(1, sampling=sampling))
    assert (len(done.ids(1)), done.end(1).reason) == (16, "length")


def test_repeat_last_n_bounds_what_penalties_see(loop: Loop) -> None:
    """Penalties over no tokens change nothing; over all tokens they do."""
    plain = run(loop, order(1)).ids(1)
    none = Sampling(temperature=0, frequency_penalty=50, repeat_last_n=0)
    every = Sampling(temperature=0, frequency_penalty=50, repeat_last_n=-1)
    assert run(loop, order(2, sampling=none)).ids(2) == plain
    penalised = run(loop, order(3, sampling=every)).ids(3)
    assert len(set(penalised)) == len(penalised)
    assert penalised != plain


def test_typical_p_narrows_the_choice(loop: Loop) -> None:
    """With hardly any probability mass left, drawing becomes the same for every seed."""
    narrow = [
        Sampling(temperature=1.5, seed=seed, typical_p=1e-6, top_k=0, top_p=1, min_p=0)
        for seed in range(3)
    ]
    done = run(loop, *(order(n, sampling=sampling) for n, sampling in enumerate(narrow)))
    assert len({done.ids(n) for n in range(3)}) == 1


def test_a_raw_prompt_is_gone_on_from_as_it_is(loop: Loop) -> None:
    """Text and its tokens are the same prompt, without a template around it."""
    text = run(loop, order(1, messages=(), prompt="once upon"))
    tokens = run(loop, order(2, messages=(), prompt=tuple(b"once upon"), tenant="other"))
    assert text.usage(1).prompt_tokens == tokens.usage(2).prompt_tokens == 9
    assert text.ids(1) == tokens.ids(2)


@pytest.mark.parametrize("prompt", ["", (), (10_000,), (-1,)], ids=str)
def test_a_prompt_that_is_none_is_refused(loop: Loop, prompt: str | tuple[int, ...]) -> None:
    """An empty prompt and tokens that do not exist are the request's fault."""
    end = run(loop, order(1, messages=(), prompt=prompt)).end(1)
    assert (end.failure, end.param) == (FailureCode.INVALID_REQUEST, "prompt")


def test_a_prompt_of_many_tokens_is_too_long(loop: Loop) -> None:
    """Tokens count against the context like text."""
    end = run(loop, order(1, messages=(), prompt=(97,) * CONTEXT)).end(1)
    assert end.failure is FailureCode.CONTEXT_LENGTH_EXCEEDED


def test_several_choices_cannot_be_resumed(loop: Loop) -> None:
    """Which choice the emitted tokens belong to is not known."""
    end = run(loop, order(1, n=2, emitted=(97,))).end(1)
    assert (end.failure, end.param) == (FailureCode.UNSUPPORTED, "emitted")


def test_greedy_is_the_default_of_these_tests(loop: Loop) -> None:
    """Two greedy choices are the same."""
    done = run(loop, order(1, n=2, sampling=GREEDY))
    assert done.ids(1, 0) == done.ids(1, 1)
