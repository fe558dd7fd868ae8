"""The step loop when interactive and background attempts come and go as they like."""

import random
from string import ascii_lowercase

import pytest

from schemas.inference import Urgency
from tests.unit.test_llama_loop import FakeDecoder, make_loop, submit
from workers.llama.loop import Loop
from workers.llama.messages import Cancel

SLOTS = 2


@pytest.mark.parametrize("seed", range(30))
def test_whoever_comes_and_goes_every_answer_is_whole(seed: int) -> None:
    """Interactive ones are taken while slots last, no step is idle, and no place is lost."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    decoder = FakeDecoder(step_seconds=0.0001)
    loop = make_loop(decoder, slots=SLOTS)
    wanted: dict[int, Urgency] = {}
    texts: dict[tuple[int, int], str] = {}
    for number in range(300):
        if dice.random() < 0.2:
            urgency = dice.choice(list(Urgency))
            sharing = [each for each in wanted.values() if urgency in (each, Urgency.BACKGROUND)]
            changes = {"n": dice.randint(1, 3), "cache_prompt": dice.random() < 0.7}
            prompt = "system " * dice.randint(0, 6) + "x" * dice.randint(1, 30)
            loop.handle(submit(number, prompt, urgency=urgency, **changes))
            if len(sharing) < SLOTS:
                wanted[number] = urgency
                texts |= {(number, index): "" for index in range(changes["n"])}
        elif wanted and dice.random() < 0.05:
            gone = dice.choice(list(wanted))
            loop.handle(Cancel(gone))
            del wanted[gone]
        _follow(loop, decoder, wanted, texts)
    while not loop.is_idle:
        _follow(loop, decoder, wanted, texts)
    assert not wanted
    loop.cache.make_room(loop.cache.bank.capacity)
    assert loop.cache.bank.used == 0
    assert loop.cache.streams.num_free == SLOTS


def _follow(
    loop: Loop,
    decoder: FakeDecoder,
    wanted: dict[int, Urgency],
    texts: dict[tuple[int, int], str],
) -> None:
    """Compute a step; check what it says against the alphabet."""
    steps, had_work = len(decoder.plans), bool(wanted)
    for output in loop.step().outputs:
        if output.failure is not None:
            assert output.attempt not in wanted
            continue
        texts[output.attempt, output.index] += output.text
        if output.reason:
            said = [text for key, text in texts.items() if key[0] == output.attempt]
            assert set(said) == {ascii_lowercase}
            del wanted[output.attempt]
    assert (len(decoder.plans) > steps) == had_work
