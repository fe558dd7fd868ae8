"""Which tokens a step computes."""

from collections.abc import Sequence as Items
from typing import Any

from workers.llama.grain import GROUP, Grain
from workers.llama.scheduler import schedule
from workers.llama.sequence import Sequence, Work
from workers.llama.voice import Voice


class NoSampler:
    """Stands for a sampler that is never asked."""

    def sample(self, row: int) -> int:
        raise AssertionError("the scheduler asks no sampler")

    def replay(self, token: int) -> None:
        raise AssertionError("the scheduler asks no sampler")

    def close(self) -> None:
        raise AssertionError("the scheduler asks no sampler")


def sequence(num_prompt: int, **changes: Any) -> Sequence:
    settings: dict[str, Any] = {
        "attempt": 0,
        "domain": "tenant",
        "slot": 0,
        "tokens": list(range(num_prompt)),
        "num_prompt": num_prompt,
        "num_initial": num_prompt,
        "max_length": 1000,
        "ends": frozenset(),
        "voice": Voice(0),
        "sampler": NoSampler(),
    }
    return Sequence(**settings | changes)


def decoding(num_prompt: int = 5) -> Sequence:
    return sequence(num_prompt, num_computed=num_prompt - 1)


def shape(plan: list[Work]) -> list[tuple[int, int, int]]:
    """Return (start, tokens, rows) of each work."""
    return [(work.start, len(work.tokens), work.num_rows) for work in plan]


def test_nothing_to_do_gives_an_empty_plan() -> None:
    """Without sequences there is no work."""
    assert schedule([], 64) == []


def test_every_decoding_sequence_gets_its_token() -> None:
    """A long prompt takes only the room that running streams leave."""
    plan = schedule([sequence(1000), decoding(5), decoding(9)], 64)
    assert shape(plan) == [(4, 1, 1), (8, 1, 1), (0, 62, 0)]


def test_a_long_prompt_is_cut_into_chunks() -> None:
    """A chunk goes on where the last one ended; only the prompt's end is sampled."""
    long = sequence(100)
    assert shape(schedule([long], 64)) == [(0, 64, 0)]
    long.num_computed = 64
    plan = schedule([long], 64)
    assert shape(plan) == [(64, 36, 1)]
    assert list(plan[0].tokens) == list(range(64, 100))


def test_prompts_are_served_in_order_of_arrival() -> None:
    """The oldest prompt is finished first; what room is left goes to the next."""
    plan = schedule([sequence(40), sequence(50), sequence(60)], 64)
    assert shape(plan) == [(0, 40, 1), (0, 24, 0)]


def test_a_step_goes_a_little_beyond_its_size_to_finish_a_prompt() -> None:
    """A small rest would cost a step of its own; what the step cannot hold stays out."""
    prompts = [sequence(40), sequence(30), sequence(60)]
    assert shape(schedule(prompts, 64, most=80)) == [(0, 40, 1), (0, 30, 1)]
    assert shape(schedule(prompts, 64, most=66)) == [(0, 40, 1), (0, 24, 0)]


def test_one_prompt_is_cut_at_a_time() -> None:
    """What room is left beside a cut one, whose pieces come in groups, is left over."""
    plan = schedule([sequence(300), sequence(300)], 100, grain=Grain(GROUP, 1000))
    assert shape(plan) == [(0, 44, 0)]


def test_prompts_advance_however_many_streams_run() -> None:
    """Even with a chunk full of decoding sequences one prompt token is computed."""
    plan = schedule([decoding(), decoding(), sequence(10)], 2)
    assert shape(plan)[-1] == (0, 1, 0)


def test_replayed_tokens_are_computed_like_a_prompt() -> None:
    """A resumed sequence is in prefill until its last emitted token."""
    resumed = sequence(5, tokens=list(range(8)), num_initial=8)
    assert resumed.is_prefilling
    assert resumed.num_generated == 3
    assert shape(schedule([resumed], 64)) == [(0, 8, 1)]


def three(_sequence: Sequence, _streams: int) -> list[int]:
    return [1, 2, 3]


def test_nobody_guesses_where_background_runs_beside_interactive_work() -> None:
    """Verifying a guess takes time, which an interactive stream would lose."""
    job = sequence(5, num_computed=4, is_background=True)
    assert shape(schedule([decoding(), job], 64, three)) == [(4, 1, 1), (4, 1, 1)]
    assert shape(schedule([job], 64, three)) == [(4, 4, 4)]


def test_all_guess_equally_far_or_none_does() -> None:
    """Sequences of different lengths would be computed one after the other."""
    guesses = {5: [1, 2, 3], 7: [4, 5]}

    def some(sequence: Sequence, _streams: int) -> list[int]:
        return guesses.get(sequence.num_prompt, [])

    plan = schedule([decoding(5), decoding(7)], 64, some)
    assert shape(plan) == [(4, 3, 3), (6, 3, 3)]
    assert [list(work.tokens) for work in plan] == [[4, 1, 2], [6, 4, 5]]
    assert shape(schedule([decoding(5), decoding(9)], 64, some)) == [(4, 1, 1), (8, 1, 1)]


def test_prompts_are_computed_in_groups_of_rows() -> None:
    """The odd rows come first, and what they lack of a group is filled up."""
    long = sequence(75)
    grain = Grain(GROUP, 1000)
    (_, work) = schedule([decoding(), long], 66, grain=grain)
    assert (len(work.tokens), work.num_rows, work.padding) == (11, 0, 1)
    long.num_computed = 11
    assert shape(schedule([long], 64, grain=grain)) == [(11, 64, 1)]


def test_a_lone_draft_is_filled_up() -> None:
    """What would be left over of a group costs more than the group."""

    def two(_sequence: Sequence, _streams: int) -> list[int]:
        return [1, 2]

    (work,) = schedule([decoding()], 64, two, Grain(GROUP, 1000))
    assert (len(work.tokens), work.padding) == (3, 1)
    (work,) = schedule([decoding(98)], 64, two, Grain(GROUP, 100))
    assert (len(work.tokens), work.padding) == (3, 0)


class Scored:
    """Stands for what is found out about a prompt: nothing yet."""

    rows = 8
    is_complete = False

    def read(self, tokens: Items[int], start: int, count: int, row: int) -> None:
        raise AssertionError("the scheduler reads no rows")

    def take(self, tokens: Items[int]) -> None:
        raise AssertionError("the scheduler takes nothing")


def test_a_prompt_that_is_scored_has_the_rows_of_a_step_to_itself() -> None:
    """Every token of its piece gives a row; other prompts wait for the next step."""
    plan = schedule([sequence(20, scores=Scored()), sequence(5), decoding()], 64)
    assert shape(plan) == [(4, 1, 1), (0, 7, 7)]
    assert [work.is_scored for work in plan] == [False, True]

    plan = schedule([sequence(5), sequence(20, scores=Scored()), sequence(5)], 64)
    assert shape(plan) == [(0, 5, 1)]


def test_a_scored_prompt_leaves_rows_to_those_it_is_computed_with() -> None:
    """More rows than there are would end the process: ends of prompts share the call."""
    ends = [sequence(5, num_computed=4) for _ in range(3)]
    streams = [sequence(5, num_computed=5, tokens=list(range(6))) for _ in range(3)]
    plan = schedule([*ends, *streams, sequence(20, scores=Scored())], 64)
    assert shape(plan)[-1] == (0, 5, 5)
    assert shape(schedule([*streams, sequence(20, scores=Scored())], 64))[-1] == (0, 8, 8)
    assert shape(schedule([sequence(20, scores=Scored())], 3)) == [(0, 3, 3)]
