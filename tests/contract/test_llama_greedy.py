"""The likeliest token is the one that llama.cpp's own sampler takes."""

from pathlib import Path

import pytest

from schemas.inference import Sampling
from tests.support.llama_loop import load, make_loop, order, run
from workers.llama.chain import SamplerChain
from workers.llama.context import LlamaContext
from workers.llama.greedy import Greedy
from workers.llama.sampling import Defaults, Drawing, resolve

GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


def test_greedy_answers_are_those_of_llama_cpp(
    decoder: LlamaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token by token, side by side with others that are drawn at random."""
    orders = [
        order(n, f"text {n}", sampling=GREEDY if n % 2 else Sampling(seed=n)) for n in range(4)
    ]
    fast = run(make_loop(decoder), *orders)
    monkeypatch.setattr(Drawing, "is_plain", False)
    chained = run(make_loop(decoder), *orders)
    assert [fast.ids(n) for n in range(4)] == [chained.ids(n) for n in range(4)]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.5),
        Sampling(temperature=0, frequency_penalty=0.1),
        Sampling(temperature=0, logit_bias={"97": 1.0}),
        Sampling(temperature=0, ignore_eos=True),
        Sampling(temperature=0, min_tokens=3),
    ],
)
def test_whatever_changes_the_odds_needs_a_chain(decoder: LlamaContext, sampling: Sampling) -> None:
    """Only a request that takes the model's own likeliest token goes without."""
    drawing = resolve(sampling, Defaults(), decoder.num_vocabulary)
    sampler = decoder.sampler(drawing)
    assert isinstance(sampler, SamplerChain)
    sampler.close()
    plain = decoder.sampler(resolve(GREEDY, Defaults(), decoder.num_vocabulary))
    assert isinstance(plain, Greedy)
