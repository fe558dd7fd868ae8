"""Server-sent events of a streamed message.

The order of events is Anthropic's: ``message_start``; for each block ``content_block_start``, its
deltas and ``content_block_stop``; ``message_delta`` with the end and the figures; ``message_stop``.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.messages import envelope
from gateway.messages.answer import call_id
from gateway.messages.ending import end_of, to_usage
from gateway.problems import Problem
from schemas.anthropic.answer import (
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    Event,
    FinalUsage,
    InputDelta,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from schemas.frames import Delta, Done, ToolCallDelta

_encode = msgspec.json.Encoder().encode


def event(body: Event) -> bytes:
    """Return one event, which goes by the name of its type."""
    return b"event: %b\ndata: %b\n\n" % (str(body.__struct_config__.tag).encode(), _encode(body))


PING: Final = event(Ping())
NONE_OPEN: Final = -1


class MessageEncoder:
    """Turns the frames of one answer into events."""

    def __init__(self, *, message_id: str, model: str, thinking: bool, request_id: str) -> None:
        """``thinking``: whether thoughts are shown."""
        self._id, self._model, self._thinking = message_id, model, thinking
        self._request_id = request_id
        self._kind: type[Block] | None = None
        """Of the block that is open."""
        self._index = NONE_OPEN
        self._calls: dict[int, int] = {}
        """The index of each call's block."""

    def opening(self) -> list[bytes]:
        """Return the first event; how many tokens the prompt has is told at the end."""
        return [event(MessageStart(message=Message(id=self._id, model=self._model)))]

    def delta(self, frame: Delta) -> bytes:
        """Return the events of a delta: one, unless a block begins or ends with it."""
        return b"".join(self._tell(frame))

    def closing(self, frame: Done) -> list[bytes]:
        """Return what ends a successful stream."""
        end = end_of(frame, called=bool(self._calls))
        return [
            *self._stop(),
            event(MessageDelta(delta=end, usage=to_usage(frame.usage, FinalUsage))),
            event(MessageStop()),
        ]

    def failure(self, problem: Problem) -> bytes:
        """Return what ends a stream that failed."""
        return b"event: error\ndata: " + envelope.encode(problem, self._request_id) + b"\n\n"

    def _tell(self, frame: Delta) -> Iterator[bytes]:
        if frame.reasoning and self._thinking:
            if self._kind is not ThinkingBlock:
                yield from self._start(ThinkingBlock())
            yield self._delta(self._index, ThinkingDelta(thinking=frame.reasoning))
        if frame.text:
            if self._kind is not TextBlock:
                yield from self._start(TextBlock())
            yield self._delta(self._index, TextDelta(text=frame.text))
        for call in frame.tool_calls:
            yield from self._call(call)

    def _call(self, call: ToolCallDelta) -> Iterator[bytes]:
        """Tell a piece of a call, in a block of its own."""
        if call.index not in self._calls:
            name = call.name or ""
            given_id = call.id or call_id(self._id, call.index)
            yield from self._start(ToolUseBlock(id=given_id, name=name, input={}))
            self._calls[call.index] = self._index
        if call.arguments:
            yield self._delta(self._calls[call.index], InputDelta(partial_json=call.arguments))

    def _start(self, block: Block) -> Iterator[bytes]:
        is_first = self._index == NONE_OPEN
        yield from self._stop()
        self._kind = type(block)
        self._index += 1
        yield event(BlockStart(index=self._index, content_block=block))
        if is_first:
            yield PING

    def _stop(self) -> Iterator[bytes]:
        if self._kind is not None:
            self._kind = None
            yield event(BlockStop(index=self._index))

    def _delta(self, index: int, delta: TextDelta | ThinkingDelta | InputDelta) -> bytes:
        return event(BlockDelta(index=index, delta=delta))
