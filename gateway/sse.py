"""Server-sent events of a chat stream, encoded once each.

Everything in a chunk but its choice is the same for the whole stream, so it is encoded when the
stream begins; a plain piece of text then costs one JSON string. No ``id:``, ``event:`` or
``retry:`` lines are ever sent: some clients break on them, and comments are only safe without
``id:``.
"""

from typing import Final

import msgspec
from msgspec import UNSET

from gateway.problems import Problem, encode_problem
from gateway.usage import to_usage
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import FinishReason
from schemas.openai.chat import (
    ChunkChoice,
    ChunkDelta,
    FunctionPiece,
    Logprobs,
    ToolCallPiece,
)

PING: Final = b": ping\n\n"
"""A comment: keeps proxies from cutting a silent stream, and clients ignore it."""
DONE: Final = b"data: [DONE]\n\n"
"""The end of a stream that succeeded, and of no other."""

_encode = msgspec.json.Encoder().encode


def error_event(problem: Problem) -> bytes:
    """Return the event that tells of a failure after the headers have gone out."""
    return b"data: " + encode_problem(problem) + b"\n\n"


class ChunkEncoder:
    """Turns the frames of one answer into the chunks of one stream."""

    def __init__(
        self, *, completion_id: str, model: str, created: int, choices: int, include_usage: bool
    ) -> None:
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (_encode(completion_id), created, _encode(model))
        )
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._text_tail = b'},"logprobs":null,"finish_reason":null}' + self._tail
        self._include_usage = include_usage
        self._unfinished = dict.fromkeys(range(choices))
        self._calls: set[tuple[int, int]] = set()

    def opening(self) -> list[bytes]:
        """Return the first chunk of every choice: the only one that carries a role."""
        delta = ChunkDelta(role="assistant", content="")
        return [self._chunk(ChunkChoice(index=index, delta=delta)) for index in self._unfinished]

    def delta(self, frame: Delta) -> bytes:
        """Return the chunk of a delta."""
        if (
            frame.index == 0
            and frame.logprobs is None
            and frame.finish_reason is None
            and not frame.reasoning
            and not frame.tool_calls
        ):
            return self._text_head + _encode(frame.text) + self._text_tail
        return self._chunk(self._choice(frame))

    def closing(self, frame: Done) -> list[bytes]:
        """Return what ends a successful stream: finish reasons, usage if asked for, ``[DONE]``."""
        events = [self._finish(index, frame.finish_reason) for index in self._unfinished]
        if self._include_usage:
            tail = b'],"usage":' + _encode(to_usage(frame.usage)) + b"}\n\n"
            events.append(self._head + tail)
        events.append(DONE)
        return events

    def failure(self, problem: Problem) -> bytes:
        """Return what ends a stream that failed."""
        return error_event(problem)

    def _choice(self, frame: Delta) -> ChunkChoice:
        if frame.finish_reason is not None:
            self._unfinished.pop(frame.index, None)
        return ChunkChoice(
            index=frame.index,
            delta=ChunkDelta(
                content=frame.text or UNSET,
                reasoning_content=frame.reasoning or UNSET,
                tool_calls=self._tool_calls(frame) if frame.tool_calls else UNSET,
            ),
            logprobs=None if frame.logprobs is None else Logprobs(content=frame.logprobs),
            finish_reason=frame.finish_reason,
        )

    def _tool_calls(self, frame: Delta) -> tuple[ToolCallPiece, ...]:
        return tuple(self._tool_call(frame.index, call) for call in frame.tool_calls)

    def _tool_call(self, choice: int, call: ToolCallDelta) -> ToolCallPiece:
        """Send id, type and name with the first piece of a call only."""
        key = (choice, call.index)
        if key in self._calls:
            return ToolCallPiece(index=call.index, function=FunctionPiece(arguments=call.arguments))
        self._calls.add(key)
        return ToolCallPiece(
            index=call.index,
            id=call.id or f"call_{choice}_{call.index}",
            type="function",
            function=FunctionPiece(name=call.name or "", arguments=call.arguments),
        )

    def _finish(self, index: int, reason: FinishReason) -> bytes:
        return self._chunk(ChunkChoice(index=index, delta=ChunkDelta(), finish_reason=reason))

    def _chunk(self, choice: ChunkChoice) -> bytes:
        return self._head + _encode(choice) + self._tail
