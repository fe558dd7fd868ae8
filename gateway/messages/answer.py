"""The frames of an answer, gathered into one message."""

from typing import Any

import msgspec

from gateway.calls import CallGatherer
from gateway.messages.ending import end_of, to_usage
from mesh.errors import UpstreamMalformed
from schemas.anthropic.answer import Block, Message, TextBlock, ThinkingBlock, ToolUseBlock, Usage
from schemas.frames import Delta, Done

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def call_id(message_id: str, index: int) -> str:
    """Return an id for a call to which its engine gave none."""
    return f"toolu_{message_id}_{index}"


class MessageGatherer:
    """Collects deltas into one message: thoughts first, then text, then calls."""

    def __init__(self, *, message_id: str, model: str, thinking: bool) -> None:
        """``thinking``: whether thoughts are shown."""
        self._id, self._model, self._thinking = message_id, model, thinking
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls = CallGatherer(lambda index: call_id(message_id, index))

    def add(self, frame: Delta) -> None:
        """Take in a delta."""
        self._texts.append(frame.text)
        if frame.reasoning and self._thinking:
            self._thoughts.append(frame.reasoning)
        for piece in frame.tool_calls:
            self._calls.add(piece)

    def complete(self, done: Done) -> Message:
        """Return the message; raises ``UpstreamMalformed`` for a call that cannot be read."""
        end = end_of(done, called=bool(self._calls))
        return Message(
            id=self._id,
            model=self._model,
            content=self._blocks(is_cut=end.stop_reason == "max_tokens"),
            stop_reason=end.stop_reason,
            stop_sequence=end.stop_sequence,
            usage=to_usage(done.usage, Usage),
        )

    def _blocks(self, *, is_cut: bool) -> tuple[Block, ...]:
        blocks: list[Block] = []
        if thought := "".join(self._thoughts):
            blocks.append(ThinkingBlock(thinking=thought))
        if text := "".join(self._texts):
            blocks.append(TextBlock(text=text))
        for call in self._calls:
            try:
                given = _decode(call.arguments or "{}")
            except msgspec.DecodeError:
                if is_cut:
                    continue  # no client could do anything with half a call
                raise UpstreamMalformed("the input of a tool call is no JSON object") from None
            blocks.append(ToolUseBlock(id=call.id, name=call.name, input=given))
        return tuple(blocks)
