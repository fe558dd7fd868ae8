"""The step loop on a decoder that needs no model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.failures import FailureCode
from schemas.inference import ChatMessage, InferRequest, Task, Urgency, Usage
from workers.llama.bank import Rows
from workers.llama.cache import Reuse
from workers.llama.constraint import Constraints
from workers.llama.dialect import Dialect
from workers.llama.infill import Infill
from workers.llama.intake import Intake
from workers.llama.loop import Loop
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.sampling import Defaults, Drawing
from workers.llama.sequence import Work
from workers.llama.template import ChatTemplate

END = 0
CONTEXT = 100


@dataclass
class Alphabet:
    """A sampler that says the letters of the alphabet, then ends."""

    letters: Iterator[int] = field(default_factory=lambda: iter([*range(97, 123), END]))
    closed: bool = False

    def sample(self, row: int) -> int:
        return next(self.letters)

    def replay(self, token: int) -> None:
        assert next(self.letters) == token

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeDecoder:
    """Remembers what it was asked to compute; a token is a byte."""

    num_vocabulary: int = 256
    longest_token: int = 2
    longest_text: int = 2 * CONTEXT
    step_seconds: float = 0.01
    token_seconds: float = 0.0
    now: float = 0.0
    plans: list[list[tuple[int, int]]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    samplers: list[Alphabet] = field(default_factory=list)
    max_rows: int = 6
    ends: frozenset[int] = frozenset({END})
    can_trim: bool = True
    infill: Infill | None = None

    def tokenize(self, text: str) -> list[int]:
        assert len(text) < self.longest_text, "a text this long should not have been tokenized"
        return list(text.encode())

    def words(self, text: str) -> list[int]:
        return self.tokenize(text)

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def sampler(self, drawing: Drawing) -> Alphabet:
        self.samplers.append(Alphabet())
        return self.samplers[-1]

    def decode(self, plan: Sequence[Work], idle: Sequence[int] = ()) -> list[int]:
        self.plans.append([(work.sequence.attempt, len(work.tokens)) for work in plan])
        self.now += self.step_seconds + self.token_seconds * sum(len(w.tokens) for w in plan)
        ends = accumulate(len(work.tokens) for work in plan)
        return [end - work.num_rows for end, work in zip(ends, plan, strict=True)]

    def logits(self, row: int) -> NDArray[np.float32]:
        raise AssertionError("nobody asked for logits")

    def examine(self, slot: int, length: int) -> Reuse:
        return Reuse.PART

    def save(self, slot: int, start: int, stop: int) -> Rows | None:
        return np.zeros((stop - start, 1), np.uint8)

    def restore(self, slot: int, parts: Sequence[Rows]) -> bool:
        return True

    def move(self, source: int, target: int) -> bool:
        return True

    def trim(self, slot: int, length: int) -> bool:
        return self.can_trim

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)


def make_loop(decoder: FakeDecoder, *, context: int = CONTEXT, **changes: Any) -> Loop:
    template = ChatTemplate("{{ messages[0].content }}")
    settings: dict[str, Any] = {
        "slots": 2,
        "context": context,
        "room": 10 * context,
        "chunk": 16,
        "step_time": 60.0,
        "clock": lambda: decoder.now,
    }
    intake = Intake(
        decoder,
        template,
        Defaults(),
        context,
        dialect=Dialect.of(None),
        constraints=_no_constraints,
    )
    return Loop(decoder, intake, **settings | changes)


def _no_constraints() -> Constraints:
    raise AssertionError("nobody asked for constraints")


def submit(attempt: int, text: str = "hi", **changes: Any) -> Submit:
    emitted = changes.pop("emitted", ())
    messages = (ChatMessage(role="user", content=text),)
    request = InferRequest(model="m", messages=messages, **changes)
    return Submit(attempt=attempt, remaining_ms=1000, request=request, emitted=emitted)


def run_to_end(loop: Loop) -> list[Output]:
    outputs: list[Output] = []
    while not loop.is_idle:
        outputs.extend(loop.step().outputs)
    return outputs


def text_of(outputs: list[Output], attempt: int) -> str:
    return "".join(o.text for o in outputs if o.attempt == attempt)


@pytest.fixture
def decoder() -> FakeDecoder:
    return FakeDecoder()


def test_an_answer_ends_with_the_end_token(decoder: FakeDecoder) -> None:
    """The end token stops the sequence and is not counted; the sampler is given back."""
    loop = make_loop(decoder)
    loop.handle(submit(1))
    outputs = run_to_end(loop)
    assert text_of(outputs, 1) == "abcdefghijklmnopqrstuvwxyz"
    assert outputs[-1].reason == "stop"
    assert outputs[-1].usage is not None
    assert outputs[-1].usage.prompt_tokens == 2
    assert outputs[-1].usage.completion_tokens == 26
    assert decoder.samplers[0].closed


def test_a_long_prompt_does_not_stall_a_running_stream(decoder: FakeDecoder) -> None:
    """While a prompt is computed in chunks, the stream gets a token in every step."""
    loop = make_loop(decoder)
    loop.handle(submit(1, stream=True))
    loop.step()
    loop.handle(submit(2, "x" * 40))
    steps = [loop.step() for _ in range(3)]
    assert [(s.prefilled, s.decoded) for s in steps] == [(15, 1), (15, 1), (10, 1)]
    assert [[o.attempt for o in s.outputs] for s in steps] == [[1], [1], [1, 2]]
    pieces = [call for call in decoder.plans if call[0][0] == 2]
    assert pieces == [[(2, 15)], [(2, 15)], [(2, 10)]]


@pytest.mark.parametrize("steps", [1, 6], ids=["in prefill", "in decode"])
def test_cancel_frees_the_sequence_within_a_step(decoder: FakeDecoder, steps: int) -> None:
    """After a cancel the next report shows all of the cache free, and nothing is computed."""
    loop = make_loop(decoder)
    loop.handle(submit(1, "x" * 40))
    for _ in range(steps):
        loop.step()
    computed = len(decoder.plans)
    loop.handle(Cancel(1))
    assert loop.step() == _idle_step(loop)
    assert len(decoder.plans) == computed
    assert loop.is_idle
    assert decoder.samplers[0].closed


def test_a_cancelled_slot_is_free_for_the_next_message(decoder: FakeDecoder) -> None:
    """Cancel and submit in a row need no step in between."""
    loop = make_loop(decoder, slots=1)
    loop.handle(submit(1))
    loop.handle(Cancel(1))
    loop.handle(submit(2))
    assert text_of(run_to_end(loop), 2).startswith("abc")


def test_cancelling_what_is_over_does_nothing(decoder: FakeDecoder) -> None:
    """A cancel that crosses the end of its attempt is ignored."""
    loop = make_loop(decoder)
    loop.handle(submit(1, max_tokens=1))
    run_to_end(loop)
    loop.handle(Cancel(1))
    assert run_to_end(loop) == []


def test_the_deadline_is_checked_before_every_step(decoder: FakeDecoder) -> None:
    """Nothing is computed for an attempt whose time is up."""
    decoder.step_seconds = 0.4
    loop = make_loop(decoder)
    loop.handle(submit(1))
    outputs = run_to_end(loop)
    assert outputs[-1].failure is FailureCode.DEADLINE_EXCEEDED
    assert len(decoder.plans) == 3


def test_max_tokens_and_context_end_with_length(decoder: FakeDecoder) -> None:
    """Whichever comes first ends the answer for want of room."""
    loop = make_loop(decoder)
    loop.handle(submit(1, max_tokens=3))
    loop.handle(submit(2, "x" * (CONTEXT - 5)))
    outputs = run_to_end(loop)
    assert (text_of(outputs, 1), text_of(outputs, 2)) == ("abc", "abcde")
    assert {o.reason for o in outputs if o.reason} == {"length"}


def test_a_stop_text_ends_the_sequence(decoder: FakeDecoder) -> None:
    """The stop text is counted and named, but not shown."""
    loop = make_loop(decoder)
    loop.handle(submit(1, stop=("xyz", "def", "ef")))
    outputs = run_to_end(loop)
    assert text_of(outputs, 1) == "abc"
    assert outputs[-1].reason == "stop"
    assert outputs[-1].usage is not None
    assert outputs[-1].usage.completion_tokens == 6
    assert outputs[-1].stop == "def"


def test_a_count_needs_no_slot_and_no_step_of_the_model(decoder: FakeDecoder) -> None:
    """What only counts is answered beside a running stream, beyond the context, too."""
    loop = make_loop(decoder, slots=1)
    loop.handle(submit(1, max_tokens=2))
    loop.handle(submit(2, "x" * 7, task=Task.COUNT))
    loop.handle(submit(3, "x" * (CONTEXT + 50), task=Task.COUNT))
    loop.handle(submit(4, "x" * 1000, task=Task.COUNT))
    outputs = {output.attempt: output for output in run_to_end(loop)}
    assert outputs[2].usage == Usage(prompt_tokens=7)
    assert outputs[3].usage == Usage(prompt_tokens=CONTEXT + 50)
    assert outputs[4].failure is FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert {attempt for plan in decoder.plans for attempt, _ in plan} == {1}


def test_a_resumed_attempt_continues(decoder: FakeDecoder) -> None:
    """Emitted tokens are computed and counted but not shown again."""
    loop = make_loop(decoder)
    loop.handle(submit(1, max_tokens=5, emitted=(97, 98)))
    outputs = run_to_end(loop)
    assert text_of(outputs, 1) == "cde"
    assert decoder.plans[0] == [(1, 4)]
    assert outputs[-1].usage is not None
    assert outputs[-1].usage.completion_tokens == 5


def test_an_attempt_resumed_at_its_end_is_over_at_once(decoder: FakeDecoder) -> None:
    """When all tokens were emitted before, nothing is computed."""
    loop = make_loop(decoder)
    loop.handle(submit(1, max_tokens=2, emitted=(97, 98)))
    (output,) = run_to_end(loop)
    assert (output.text, output.reason) == ("", "length")
    assert decoder.plans == []


def test_a_request_that_is_refused_takes_no_slot(decoder: FakeDecoder) -> None:
    """A prompt beyond the context fails with the figures; the slot stays free."""
    loop = make_loop(decoder, slots=1)
    loop.handle(submit(1, "x" * CONTEXT))
    loop.handle(submit(2, "x" * 1000))
    loop.handle(submit(3, max_tokens=1))
    long, endless, *_ = outputs = run_to_end(loop)
    assert long.failure is endless.failure is FailureCode.CONTEXT_LENGTH_EXCEEDED
    assert "has 100 tokens" in long.message
    assert "at least 500 tokens" in endless.message
    assert text_of(outputs, 3) == "a"


def test_chunks_shrink_on_a_slow_machine(decoder: FakeDecoder) -> None:
    """A step computes no more prompt tokens than fit its time at the speed seen so far."""
    decoder.step_seconds, decoder.token_seconds = 0, 0.001
    loop = make_loop(decoder, chunk=90, step_time=0.03)
    loop.handle(submit(1, "x" * 90, max_tokens=1))
    run_to_end(loop)
    decoder.plans.clear()
    loop.handle(submit(2, "y" * 90, max_tokens=1))
    run_to_end(loop)
    assert decoder.plans == [[(2, 30)], [(2, 30)], [(2, 30)]]


def test_warm_up_gives_first_rates(decoder: FakeDecoder) -> None:
    """After the warm-up both rates are known and no trace of it is left."""
    loop = make_loop(decoder)
    loop.warm_up()
    step = loop.report()
    assert step.prefill_rate == pytest.approx(16 / 0.01)
    assert step.decode_rate == pytest.approx(1 / 0.01)
    assert step.kv_free == 2 * CONTEXT
    assert decoder.forgotten == [0]
    assert loop.is_idle


def test_rates_are_those_of_interactive_requests(decoder: FakeDecoder) -> None:
    """Steps of background work alone, which are cut short for others, do not change the figures."""
    loop = make_loop(decoder)
    loop.warm_up()
    before = loop.report()
    decoder.step_seconds = 0.05
    loop.handle(submit(1, "x" * 10, urgency=Urgency.BACKGROUND, max_tokens=3))
    run_to_end(loop)
    after = loop.report()
    assert (after.prefill_rate, after.decode_rate) == (before.prefill_rate, before.decode_rate)
    loop.handle(submit(2, "y" * 10, max_tokens=3))
    run_to_end(loop)
    assert loop.report().decode_rate < before.decode_rate


def _idle_step(loop: Loop) -> Step:
    report = loop.report()
    return Step(
        outputs=(),
        prefilled=0,
        decoded=0,
        kv_free=2 * CONTEXT,
        prefill_rate=report.prefill_rate,
        decode_rate=report.decode_rate,
    )
