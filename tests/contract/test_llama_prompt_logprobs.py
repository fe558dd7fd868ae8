"""How likely a prompt was, on a real llama.cpp: piece by piece, and beside others."""

from pathlib import Path
from typing import Any

import pytest

from schemas.failures import FailureCode
from schemas.inference import Sampling
from tests.support.llama_loop import Run, load, make_loop, order, run
from tests.support.tiny_model import FIM, write_tiny_model
from workers.llama.context import LlamaContext
from workers.llama.loop import Loop

LONG = "a prompt of more tokens than one step has rows of logits, so it comes in pieces"


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


@pytest.fixture
def loop(decoder: LlamaContext) -> Loop:
    return make_loop(decoder)


def ask(number: int, prompt: str | tuple[int, ...] = LONG, **changes: Any) -> Any:
    """Return an order for a prompt and its log-probabilities."""
    settings = {"messages": (), "prompt": prompt, "logprobs": 2, "prompt_logprobs": True}
    return order(number, **settings | changes)


def prompt_of(done: Run, attempt: int, index: int = 0) -> list[dict[str, Any]]:
    """Return what was told of a prompt, which is told once."""
    (items,) = [o.prompt_logprobs for o in done.of(attempt, index) if o.prompt_logprobs]
    return items


def likelihoods(items: list[dict[str, Any]]) -> list[float]:
    return [item["logprob"] for item in items]


def test_a_prompt_is_as_likely_as_when_it_was_generated(decoder: LlamaContext, loop: Loop) -> None:
    """What the model reported token by token it reports again of the same tokens as a prompt."""
    said = run(loop, ask(1, prompt_logprobs=False, max_tokens=40))
    generated = [item for output in said.of(1) for item in output.logprobs or ()]
    before = tuple(decoder.tokenize(LONG))
    done = run(loop, ask(2, (*before, *said.ids(1)), max_tokens=0))

    again = prompt_of(done, 2)
    assert len(again) == len(before) + 40
    assert (again[0]["logprob"], again[0]["top_logprobs"]) == (None, [])
    known = again[len(before) :]
    assert [item["bytes"] for item in known] == [item["bytes"] for item in generated]
    assert likelihoods(known) == pytest.approx(likelihoods(generated), abs=0.02)
    assert all(len(item["top_logprobs"]) == 2 for item in again[1:])
    assert done.end(2).reason == "length"
    assert (done.usage(2).prompt_tokens, done.usage(2).completion_tokens) == (len(again), 0)


def test_what_was_asked_before_changes_nothing(loop: Loop) -> None:
    """A prompt in the cache is computed anew, and the answer is that of a plain request."""
    plain = run(loop, order(1, messages=(), prompt=LONG))
    first, second = run(loop, ask(2)), run(loop, ask(3))

    assert first.ids(2) == second.ids(3) == plain.ids(1)
    assert second.usage(3).cached_tokens == 0
    assert likelihoods(prompt_of(second, 3)[1:]) == pytest.approx(
        likelihoods(prompt_of(first, 2)[1:]), abs=0.02
    )


def test_other_requests_run_beside_it(loop: Loop) -> None:
    """Streams and prompts beside it say what they say alone."""
    alone = run(loop, order(1, "one"), order(2, LONG))
    beside = run(loop, order(3, "one"), ask(4), order(5, LONG), ask(6, "short"))

    assert (beside.text(3), beside.text(5)) == (alone.text(1), alone.text(2))
    assert len(prompt_of(beside, 4)) == len(LONG)
    assert len(prompt_of(beside, 6)) == len("short")


def test_it_comes_with_the_first_choice_alone(loop: Loop) -> None:
    """Choices share their prompt, and what is known of it is told with the first output."""
    sampling = Sampling(temperature=1.5, seed=11)
    done = run(loop, ask(1, n=3, sampling=sampling))

    assert len(prompt_of(done, 1)) == len(LONG)
    assert done.of(1)[0].prompt_logprobs is not None
    assert done.of(1)[0].ids
    for index in (1, 2):
        assert not any(output.prompt_logprobs for output in done.of(1, index))


def test_a_resumed_attempt_has_told_it_before(loop: Loop) -> None:
    """Nothing is told twice, and the answer goes on as it would have."""
    whole = run(loop, ask(1))
    rest = run(loop, ask(2, emitted=whole.ids(1)[:5]))

    assert rest.ids(2) == whole.ids(1)[5:]
    assert not any(output.prompt_logprobs for output in rest.of(2))


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_a_prompt_of_one_token_has_nothing_before_it(loop: Loop, max_tokens: int) -> None:
    """Its token is named, without a log-probability."""
    done = run(loop, ask(1, (65,), max_tokens=max_tokens))
    assert [(i["token"], i["logprob"]) for i in prompt_of(done, 1)] == [("A", None)]
    assert len(done.ids(1)) == max_tokens


def test_of_a_gap_what_comes_before_it_is_told(tmp_path: Path) -> None:
    """Neither the marks nor the suffix are part of the prompt that a client sent."""
    loop = make_loop(load(write_tiny_model(tmp_path / "filler.gguf", marks=FIM)))
    done = run(loop, ask(1, suffix="the end", max_tokens=4), ask(2, suffix="x", max_tokens=0))
    for number in (1, 2):
        assert "".join(item["token"] for item in prompt_of(done, number)) == LONG
    assert len(done.ids(1)) == 4


@pytest.mark.parametrize(
    "changes",
    [{"logprobs": None}, {"prompt": None, "messages": order(1).request.messages}],
)
def test_what_means_nothing_is_refused(loop: Loop, changes: dict[str, Any]) -> None:
    """It needs log-probabilities, and a prompt that is not a conversation."""
    done = run(loop, ask(1, **changes))
    assert done.end(1).failure is FailureCode.INVALID_REQUEST
    assert done.end(1).param == "prompt_logprobs"
