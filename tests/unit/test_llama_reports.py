"""Which reports of an engine share a message."""

import pytest
from msgspec.structs import replace

from schemas.failures import FailureCode
from schemas.inference import Usage
from tests.support.fleets import FakeClock
from tests.support.requests import chat
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.reports import PATIENCE, Reports
from workers.settings import STREAM_WINDOW

TOKEN = Output(1, text="a", ids=(7,))
END = Output(1, reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=1))


def step(*outputs: Output, prefilled: int = 0, kv_free: int = 0) -> Step:
    return Step(
        outputs=outputs,
        prefilled=prefilled,
        decoded=len(outputs),
        kv_free=kv_free,
        prefill_rate=0.0,
        decode_rate=0.0,
    )


def order(attempt: int, *, stream: bool) -> Submit:
    return Submit(attempt, 1000, chat(stream=stream))


class Sent:
    """Reports with a clock of their own, and what they passed on."""

    def __init__(self, *, stream: bool = True) -> None:
        self.clock = FakeClock()
        self.steps: list[Step] = []
        self.reports = Reports(self.steps.append, self.clock)
        self.reports.expect(order(1, stream=stream))
        self.reports.add(step(TOKEN))
        assert len(self.steps) == 1, "the first is not kept waiting"
        self.steps.clear()

    def after(self, seconds: float, *outputs: Output) -> list[Step]:
        """Return what goes out with a step that ends so much later."""
        self.clock.now += seconds
        self.reports.add(step(*outputs))
        steps = self.steps[:]
        self.steps.clear()
        return steps


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_what_nobody_waits_for_shares_a_message(sent: Sent) -> None:
    """Tokens of short steps go out in order once the window is over, with the last figures."""
    for number in range(3):
        sent.reports.add(step(TOKEN, kv_free=number))
    assert not sent.steps
    sent.clock.now += 1.01 * STREAM_WINDOW
    sent.reports.add(step(Output(2, text="b"), kv_free=9))
    [joined] = sent.steps
    assert [output.attempt for output in joined.outputs] == [1, 1, 1, 2]
    assert (joined.decoded, joined.kv_free) == (4, 9)


@pytest.mark.parametrize(
    "urgent",
    [
        step(END),
        step(Output(1, failure=FailureCode.INTERNAL, message="?")),
        step(TOKEN, prefilled=4),
    ],
    ids=["end", "failure", "first token"],
)
def test_what_somebody_waits_for_goes_at_once(sent: Sent, urgent: Step) -> None:
    """Ends and first tokens go out with all that came before them."""
    sent.reports.add(step(TOKEN))
    sent.reports.add(urgent)
    [joined] = sent.steps
    assert joined.outputs == (TOKEN, *urgent.outputs)


def test_what_is_there_goes_out_before_a_prompt_is_computed(sent: Sent) -> None:
    """Else the pause that the prompt makes would be longer by what was held back."""
    assert sent.after(STREAM_WINDOW / 4, TOKEN) == []
    sent.reports.expect(order(2, stream=False))
    assert [output for each in sent.steps for output in each.outputs] == [TOKEN]


def test_whole_answers_are_in_no_hurry() -> None:
    """Where nobody watches tokens arrive, few messages do; ends go at once all the same."""
    sent = Sent(stream=False)
    assert not sent.after(2 * STREAM_WINDOW, TOKEN)
    sent.reports.add(step(TOKEN, prefilled=4))
    assert not sent.steps
    assert len(sent.after(PATIENCE, TOKEN)) == 1
    assert len(sent.after(0.0, END)) == 1


@pytest.mark.parametrize("leaves", ["ends", "is cancelled"])
def test_one_stream_is_enough_to_be_in_a_hurry(leaves: str) -> None:
    """It makes the others' tokens go out with its own, for as long as it is there."""
    sent = Sent(stream=False)
    sent.reports.expect(order(2, stream=True))
    assert len(sent.after(1.01 * STREAM_WINDOW, TOKEN)) == 1
    if leaves == "ends":
        sent.after(0.0, replace(END, attempt=2))
    else:
        sent.reports.expect(Cancel(2))
    assert not sent.after(1.01 * STREAM_WINDOW, TOKEN)


def test_nothing_is_held_back_by_an_engine_that_rests(sent: Sent) -> None:
    """What is there goes out when it is asked for, once."""
    sent.reports.add(step(TOKEN))
    sent.reports.flush()
    sent.reports.flush()
    assert [each.outputs for each in sent.steps] == [(TOKEN,)]
