"""Frames: what a worker sends to a request's private inbox.

Every frame carries a sequence number counted from 0 within its attempt. A gap means that the bus
dropped something and the attempt is lost. ``Accepted`` or ``Failed`` comes first, ``Done`` or
``Failed`` last.
"""

from typing import Any

import msgspec

from schemas.failures import FailureCode
from schemas.fleet import UNKNOWN
from schemas.inference import FinishReason, Usage
from schemas.wire import Message, encode


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    """The worker took the attempt and holds a slot for it.

    digest: of the model file; slots_free, slots_idle: as in ``ModelStatus``, which spares the
    router the wait for the next advert.
    """

    seq: int
    worker: str
    digest: str = ""
    slots_free: int = UNKNOWN
    slots_idle: int = UNKNOWN


class ToolCallDelta(Message, frozen=True, kw_only=True):
    """A piece of a tool call: id and name once, then pieces of the arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Delta(Message, frozen=True, kw_only=True, tag="delta"):
    """New output of choice ``index``: whole UTF-8 text, and the token ids it was made from.

    ids: needed to resume the stream elsewhere; empty where the engine has none (upstream).
    logprobs: list of OpenAI logprob items. prompt_logprobs: those of the prompt, with the first
    output of choice 0; of its first token there is none (null). vectors, scores: of the inputs from
    ``index`` on, where inputs were to be embedded (little-endian float32) or ranked.
    """

    seq: int
    text: str = ""
    ids: tuple[int, ...] = ()
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: list[dict[str, Any]] | None = None
    prompt_logprobs: list[dict[str, Any]] | None = None
    finish_reason: FinishReason | None = None
    """Set on the last delta of a choice when there are several (n > 1)."""
    vectors: tuple[bytes, ...] = ()
    scores: tuple[float, ...] = ()


class Beat(Message, frozen=True, kw_only=True, tag="beat"):
    """The attempt is alive; sent every second while nothing else is."""

    seq: int


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """The attempt ended well.

    last: output that was still to be sent; a short answer needs no message of its own for it.
    stop: which of the request's stop texts ended choice 0, empty if none did or nobody knows.
    """

    seq: int
    finish_reason: FinishReason
    usage: Usage
    slots_free: int = UNKNOWN
    slots_idle: int = UNKNOWN
    last: Delta | None = None
    stop: str = ""


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    """The attempt was refused or ended badly; ``param`` names the offending request field."""

    seq: int
    code: FailureCode
    message: str
    param: str | None = None
    retry_after_ms: int | None = None
    slots_free: int = UNKNOWN
    slots_idle: int = UNKNOWN


Frame = Accepted | Delta | Beat | Done | Failed

_decoder = msgspec.json.Decoder(Frame)


def decode_frame(payload: bytes) -> Frame:
    """Return the frame in a payload; raises ``msgspec.MsgspecError`` on anything else."""
    frame: Frame = _decoder.decode(payload)
    return frame


def encode_frame(frame: Frame) -> bytes:
    """Return the JSON bytes of a frame."""
    return encode(frame)
