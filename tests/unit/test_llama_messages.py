"""The pipe between agent and engine process."""

import pytest

from schemas.inference import ChatMessage, InferRequest, Sampling, Usage
from workers.llama.messages import (
    MAX_FRAME,
    Cancel,
    FrameTooLarge,
    Output,
    Step,
    Submit,
    Unframer,
    decode_from_engine,
    decode_to_engine,
    frame,
)


def submit(attempt: int) -> Submit:
    return Submit(
        attempt=attempt,
        remaining_ms=5,
        request=InferRequest(
            model="m",
            messages=(ChatMessage(role="user", content="é"),),
            sampling=Sampling(seed=-1),
        ),
        emitted=(1, 2),
    )


STEP = Step(
    outputs=(
        Output(1, "text", (5, 6)),
        Output(2, reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=4)),
    ),
    prefilled=1,
    decoded=2,
    kv_free=3,
    prefill_rate=4.5,
    decode_rate=5.5,
)


def test_messages_survive_however_the_pipe_cuts_them() -> None:
    """Frames are put together from single bytes and taken apart from one block."""
    messages = [submit(1), Cancel(1), submit(2)]
    data = b"".join(frame(message) for message in messages)
    unframer = Unframer(decode_to_engine)
    one_by_one = [m for byte in data for m in unframer.feed(bytes([byte]))]
    assert one_by_one == messages
    assert unframer.feed(data) == messages


def test_a_step_report_survives() -> None:
    """What the engine reports arrives as it was."""
    assert Unframer(decode_from_engine).feed(frame(STEP)) == [STEP]


def test_a_length_beyond_reason_is_refused() -> None:
    """A stream that is out of step is noticed, not buffered."""
    with pytest.raises(FrameTooLarge):
        Unframer(decode_to_engine).feed((MAX_FRAME + 1).to_bytes(4, "big"))
