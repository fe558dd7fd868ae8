"""What an agent and its engine process say to each other, and how it is cut into frames.

Messages go in order through a pipe as msgpack with a 4-byte big-endian length in front. Ordering
is the whole protocol of slots: a cancel sent before a submit has freed its sequence by then.
"""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import msgspec

from schemas.failures import FailureCode
from schemas.frames import ToolCallDelta
from schemas.inference import FinishReason, InferRequest, Usage
from workers.llama.settings import LlamaSettings

MAX_FRAME = 128 << 20
"""Bytes: more than any request the bus can carry."""
LENGTH = 4

T = TypeVar("T")


class PipeMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Positional on the wire: both ends are always the same version."""


class Open(PipeMessage, frozen=True):
    """Load this model; the first message to an engine. Fields as in ``LlamaSettings``."""

    path: str
    slots: int
    context: int
    context_cap: int
    threads: int
    gpu_layers: int
    chunk: int
    step_time: float
    template_time: float
    nice: int
    room: int | None

    @classmethod
    def of(cls, settings: LlamaSettings) -> Self:
        """Return the message for an engine of these settings."""
        return cls(
            path=str(settings.model),
            slots=settings.slots,
            context=settings.context,
            context_cap=settings.context_cap,
            threads=settings.threads,
            gpu_layers=settings.gpu_layers,
            chunk=settings.chunk,
            step_time=settings.step_time,
            template_time=settings.template_time,
            nice=settings.nice,
            room=settings.room,
        )


class Submit(PipeMessage, frozen=True):
    """Compute this; ``attempt`` is its number on this pipe, the rest as in ``Dispatch``."""

    attempt: int
    remaining_ms: int
    request: InferRequest
    emitted: tuple[int, ...] = ()


class Cancel(PipeMessage, frozen=True):
    """Forget this attempt."""

    attempt: int


class Loading(PipeMessage, frozen=True):
    """How much of the model is loaded, 0 to 1."""

    fraction: float


class Opened(PipeMessage, frozen=True):
    """The model is loaded; rates in tokens/s come from a short warm-up.

    infills: whether it fills the gap before a suffix.
    """

    context: int
    slots: int
    kv_free: int
    prefill_rate: float
    decode_rate: float
    detail: str
    infills: bool = False


class Refused(PipeMessage, frozen=True):
    """The model cannot be loaded; ``detail`` is for people."""

    detail: str


class Output(PipeMessage, frozen=True):
    """New output of one attempt, as in ``Piece``; the end has ``reason``, or ``failure``."""

    attempt: int
    text: str = ""
    ids: tuple[int, ...] = ()
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: list[dict[str, Any]] | None = None
    finish_reason: FinishReason | None = None
    """How choice ``index`` ended, where there are several."""
    vectors: tuple[bytes, ...] = ()
    scores: tuple[float, ...] = ()
    prompt_logprobs: list[dict[str, Any]] | None = None
    reason: FinishReason | None = None
    usage: Usage | None = None
    failure: FailureCode | None = None
    message: str = ""
    param: str | None = None
    stop: str = ""
    """The stop text that ended choice 0."""


class Step(PipeMessage, frozen=True):
    """What one engine step did for all its sequences; the only message while work is running."""

    outputs: tuple[Output, ...]
    prefilled: int
    """Tokens of prompts computed."""
    decoded: int
    """Sequences that moved on by one token."""
    kv_free: int
    prefill_rate: float
    decode_rate: float
    evicted: tuple[int, ...] = ()
    """Ended attempts whose tokens have left the KV cache since the last report."""


ToEngine = Open | Submit | Cancel
FromEngine = Loading | Opened | Refused | Step

decode_to_engine: Callable[[bytes], ToEngine] = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine: Callable[[bytes], FromEngine] = msgspec.msgpack.Decoder(FromEngine).decode
_encoder = msgspec.msgpack.Encoder()


class FrameTooLarge(ValueError):
    """A frame's length is beyond what either end sends."""


def frame(message: PipeMessage) -> bytes:
    """Return a message as one frame; raises ``OverflowError`` for integers beyond 64 bits."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH, "big") + body


class Unframer(Generic[T]):
    """Collects bytes and gives back whole messages."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._data = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Return the messages that ``data`` completes."""
        self._data += data
        messages: list[T] = []
        while (body := self._next()) is not None:
            messages.append(self._decode(body))
        return messages

    def _next(self) -> bytes | None:
        if len(self._data) < LENGTH:
            return None
        size = int.from_bytes(self._data[:LENGTH], "big")
        if size > MAX_FRAME:
            msg = f"a frame of {size} bytes"
            raise FrameTooLarge(msg)
        end = LENGTH + size
        if len(self._data) < end:
            return None
        body = bytes(self._data[LENGTH:end])
        del self._data[:end]
        return body
