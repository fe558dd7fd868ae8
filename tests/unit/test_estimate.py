"""Estimates of lengths and times."""

from mesh.estimate import (
    DEFAULT_OUTPUT_TOKENS,
    ModelHistory,
    finish_time,
    prompt_chars,
    time_to_first_token,
)
from mesh.prefix import longest_held, prefixes
from schemas.inference import ChatMessage, InferRequest, Task, Usage
from tests.support.fleets import model


def request(*texts: str, tenant: str = "t", name: str = "m") -> InferRequest:
    turns = tuple(ChatMessage(role="user", content=text) for text in texts)
    return InferRequest(model=name, messages=turns, tenant=tenant)


def test_output_is_the_median_of_recent_answers() -> None:
    """A few very long answers do not move the estimate."""
    history = ModelHistory()
    assert history.output_tokens() == DEFAULT_OUTPUT_TOKENS
    for tokens in (10, 12, 4000):
        history.learn(100, 1, Usage(prompt_tokens=30, completion_tokens=tokens))
    assert history.output_tokens() == 12


def test_prompt_estimate_learns_the_text_density() -> None:
    """A vocabulary that needs a token per character is found out from real usage."""
    history = ModelHistory()
    before = history.prompt_tokens(1000, 1)
    for _ in range(60):
        history.learn(1000, 1, Usage(prompt_tokens=1005, completion_tokens=5))
    assert before == 255
    assert 990 < history.prompt_tokens(1000, 1) <= 1020


def test_times_follow_the_rates() -> None:
    """Overhead, prefill without the warm part, then decode."""
    status = model(prefill=100, decode=10, overhead_ms=500)
    assert time_to_first_token(status, 200, warm_tokens=100) == 1.5
    assert finish_time(status, 200, 50, warm_tokens=100) == 6.5


def test_unmeasured_rates_count_as_instant() -> None:
    """A worker that was never measured is predicted to be fast, so that it gets measured."""
    assert finish_time(model(), 10_000, 10_000) == 0


def test_fingerprints_grow_with_the_conversation() -> None:
    """The next turn's chain begins with this turn's."""
    first, second = prefixes(request("a", "b")), prefixes(request("a", "b", "c"))
    assert second[:2] == first
    assert len({link.fingerprint for link in second}) == 3


def test_fingerprints_differ_between_tenants_and_models() -> None:
    """Prefixes are never shared across tenants, nor across models."""
    chains = (
        prefixes(request("a")),
        prefixes(request("a", tenant="x")),
        prefixes(request("a", name="n")),
    )
    assert len({chain[0].fingerprint for chain in chains}) == 3


def test_the_longest_prefix_held_is_found() -> None:
    """The longest fingerprint a worker holds decides."""
    chain = prefixes(request("one", "two", "three"))
    held = frozenset({chain[0].fingerprint, chain[1].fingerprint})
    assert longest_held(chain, held) == chain[1]
    assert longest_held(chain, frozenset()) is None


def test_all_that_is_read_is_counted() -> None:
    """Prompts and inputs count like turns, tokens like the text they stand for."""
    embed = InferRequest(model="m", task=Task.EMBED, inputs=("abcd", (1, 2)))
    rank = InferRequest(model="m", task=Task.RERANK, query="abc", inputs=("abcd", "ab"))
    assert prompt_chars(request("abc", "de")) == 5
    assert prompt_chars(InferRequest(model="m", prompt="abc")) == 3
    assert prompt_chars(embed) == 12
    assert prompt_chars(rank) == 12
