"""In how many calls a step is computed."""

from tests.unit.test_llama_scheduler import sequence
from workers.llama.calls import TILE, calls_of
from workers.llama.sequence import Work


def prompt(tokens: int) -> Work:
    return Work(sequence(tokens), [0] * tokens, 0, 1)


def stream() -> Work:
    return Work(sequence(5, num_computed=5), [0], 5, 1)


def test_streams_have_a_call_of_their_own_beside_a_prompt_that_fills_a_tile() -> None:
    """The streams come first; nothing is computed twice or left out."""
    first, second, long = stream(), stream(), prompt(TILE)
    assert calls_of([first, long, second], TILE) == [[first, second], [long]]


def test_a_step_without_a_whole_tile_of_prompts_is_one_call() -> None:
    """A short piece of a prompt is computed row by row, with the streams."""
    plan = [stream(), prompt(TILE - 1)]
    assert calls_of(plan, TILE) == [plan]


def test_prompts_or_streams_alone_are_one_call() -> None:
    """There is nothing to keep apart."""
    for plan in ([prompt(TILE), prompt(TILE)], [stream(), stream()]):
        assert calls_of(plan, TILE) == [plan]


def test_where_tiles_do_not_matter_a_step_is_one_call() -> None:
    """On a GPU a further call only costs."""
    plan = [stream(), prompt(2 * TILE)]
    assert calls_of(plan, 0) == [plan]
