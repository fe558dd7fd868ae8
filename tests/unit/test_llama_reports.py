"""Which reports of an engine share a message."""

import pytest

from schemas.failures import FailureCode
from schemas.inference import Usage
from tests.support.fleets import FakeClock
from workers.frame_writer import STREAM_WINDOW
from workers.llama.messages import Output, Step
from workers.llama.reports import Reports

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


class Sent:
    """Reports with a clock of their own, and what they passed on."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.steps: list[Step] = []
        self.reports = Reports(self.steps.append, self.clock)


@pytest.fixture
def sent() -> Sent:
    sent = Sent()
    sent.reports.add(step(TOKEN))
    assert len(sent.steps) == 1, "the first is not kept waiting"
    sent.steps.clear()
    return sent


def test_what_nobody_waits_for_shares_a_message(sent: Sent) -> None:
    """Tokens of short steps go out in order once the window is over, with the last figures."""
    for number in range(3):
        sent.reports.add(step(TOKEN, kv_free=number))
    assert not sent.steps
    sent.clock.now += STREAM_WINDOW
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


def test_nothing_is_held_back_by_an_engine_that_rests(sent: Sent) -> None:
    """What is there goes out when it is asked for, once."""
    sent.reports.add(step(TOKEN))
    sent.reports.flush()
    sent.reports.flush()
    assert [each.outputs for each in sent.steps] == [(TOKEN,)]
