"""Sampling parameters are checked, completed and mapped to what llama.cpp takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidRequest
from schemas.inference import Sampling
from workers.llama.gguf_header import Header
from workers.llama.sampling import RANDOM_SEED, Defaults, fold_seed, resolve


def header(**values: float) -> Header:
    named = {f"general.sampling.{key}": value for key, value in values.items()}
    return Header(values=named, vocabulary=0, weight_bytes=0, file_bytes=0)


def test_what_a_request_leaves_open_comes_from_the_model_then_from_llama_cpp() -> None:
    """The model's recommendation beats the general default; the request beats both."""
    defaults = Defaults.of(header(temp=0.3, top_k=20))
    drawing = resolve(Sampling(top_k=5), defaults, 100)
    assert (drawing.temperature, drawing.top_k, drawing.top_p) == (0.3, 5, 0.95)
    assert drawing.seed == RANDOM_SEED
    assert not drawing.has_penalties


def test_a_refusal_tells_the_whole_bound() -> None:
    """Large bounds are spelled out, so that the next request can keep to them."""
    with pytest.raises(InvalidRequest, match=r"between 0 and 1073741824$"):
        resolve(Sampling(top_k=2**31 - 1), Defaults(), 100)


def test_nonsense_in_a_model_file_is_ignored() -> None:
    """A recommendation out of bounds falls back to the general default."""
    assert Defaults.of(header(temp=float("nan"), top_p=7)) == Defaults()


def test_biases_and_penalties_are_passed_on() -> None:
    """Token ids become numbers."""
    wanted = Sampling(logit_bias={"7": -100.0}, frequency_penalty=0.5)
    drawing = resolve(wanted, Defaults(), 8)
    assert drawing.logit_bias == ((7, -100.0),)
    assert drawing.has_penalties


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(temperature=float("inf")), "temperature"),
        (Sampling(top_p=1.1), "top_p"),
        (Sampling(top_k=-1), "top_k"),
        (Sampling(min_p=2), "min_p"),
        (Sampling(repeat_penalty=0), "repeat_penalty"),
        (Sampling(presence_penalty=float("inf")), "presence_penalty"),
        (Sampling(logit_bias={"8": 1.0}), "logit_bias"),
        (Sampling(logit_bias={"-1": 1.0}), "logit_bias"),
        (Sampling(logit_bias={"x": 1.0}), "logit_bias"),
        (Sampling(logit_bias={"1": float("nan")}), "logit_bias"),
        (Sampling(logit_bias=dict.fromkeys(map(str, range(2000)), 1.0)), "logit_bias"),
    ],
)
def test_values_out_of_bounds_name_their_field(wanted: Sampling, param: str) -> None:
    """Nothing reaches native code that it does not expect."""
    with pytest.raises(InvalidRequest) as caught:
        resolve(wanted, Defaults(), 8)
    assert caught.value.param == param


@given(st.integers(-(2**63), 2**64 - 1))
def test_every_seed_is_a_fixed_32_bit_seed(seed: int) -> None:
    """No seed becomes llama.cpp's mark for a random one."""
    assert 0 <= fold_seed(seed) < RANDOM_SEED
    assert fold_seed(seed) == fold_seed(seed)


def test_neighbouring_seeds_differ() -> None:
    """Minus one is a seed like any other."""
    assert len({fold_seed(seed) for seed in range(-50, 50)}) == 100
