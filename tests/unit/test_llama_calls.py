"""In how many calls a step is computed."""

from tests.unit.test_llama_scheduler import sequence
from workers.llama.calls import calls_of
from workers.llama.sequence import Work


def prompt(tokens: int, slot: int = 0) -> Work:
    return Work(sequence(tokens, slot=slot), [0] * tokens, 0, 1)


def stream(slot: int = 0) -> Work:
    return Work(sequence(5, num_computed=5, slot=slot), [0], 5, 1)


def test_streams_have_a_call_of_their_own_beside_a_prompt() -> None:
    """The streams come first; nothing is computed twice or left out."""
    first, second, long = stream(), stream(1), prompt(64, 2)
    assert calls_of([first, long, second]) == [[first, second], [long]]


def test_prompts_or_streams_alone_are_one_call() -> None:
    """There is nothing to keep apart."""
    for plan in ([prompt(64), prompt(30, 1)], [stream(), stream(1)]):
        assert calls_of(plan) == [plan]


def test_neighbours_in_the_cache_are_neighbours_in_a_call() -> None:
    """llama.cpp computes only those together that follow each other."""
    far, near, middle = stream(3), stream(1), stream(2)
    late, early = prompt(5, 5), prompt(7, 4)
    plan = [far, late, near, early, middle]
    assert calls_of(plan) == [[near, middle, far], [early, late]]
