"""From an upstream's chunks to the pieces and the finish of an engine. Pure."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from uuid import uuid4

from mesh.errors import UpstreamError, UpstreamMalformed
from mesh.estimate import CHARS_PER_TOKEN
from schemas.frames import ToolCallDelta
from schemas.inference import FinishReason, Usage
from schemas.openai.upstream import Choice, Chunk, Content, ToldUsage, ToolCallPart
from workers.engine import Emit, Finish, Piece

NOTHING = Content()

FINISH_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "stop": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
        "content_filter": "content_filter",
    }
)
"""What upstreams say at the end; anything else (``abort``, ``error``) is no good end."""


class Answer:
    """Takes the chunks of one answer, emits its pieces and knows whether it is whole."""

    def __init__(self, choices: int, prompt_bytes: int, emit: Emit) -> None:
        self._emit = emit
        self._choices = [ChoiceProgress() for _ in range(choices)]
        self._prompt_bytes = prompt_bytes
        self._told = ToldUsage()
        self._pieces = self._bytes = 0

    def take(self, chunk: Chunk) -> None:
        """Emit what a chunk brings; raises ``UpstreamError`` if it tells of a failure."""
        if chunk.error is not None:
            # Its text is the upstream's own and may quote anything: it goes no further.
            raise UpstreamError("the upstream reported an error in the middle of its answer")
        self._told = chunk.usage or self._told
        for choice in chunk.choices or ():
            self._take_choice(choice)

    def finish(self) -> Finish:
        """Return the end of a whole answer; raises ``UpstreamMalformed`` for a part of one."""
        reasons = [progress.reason for progress in self._choices if progress.reason]
        if len(reasons) < len(self._choices):
            raise UpstreamMalformed(
                f"the upstream finished {len(reasons)} of {len(self._choices)} choices"
            )
        return Finish(reasons[0], self.usage)

    @property
    def usage(self) -> Usage:
        """The tokens so far: as told, or else counted, with a token per piece or four bytes."""
        details = self._told.prompt_tokens_details
        return Usage(
            prompt_tokens=self._told.prompt_tokens or _tokens(self._prompt_bytes),
            completion_tokens=self._told.completion_tokens
            or max(self._pieces, _tokens(self._bytes)),
            cached_tokens=(details and details.cached_tokens) or 0,
        )

    def _take_choice(self, choice: Choice) -> None:
        if choice.index >= len(self._choices):
            raise UpstreamMalformed("the upstream sent a choice that was not asked for")
        progress = self._choices[choice.index]
        reason = progress.end(choice.finish_reason)
        content = choice.delta or choice.message or NOTHING
        piece = Piece(
            text=content.content or content.refusal or "",
            index=choice.index,
            reasoning=content.reasoning_content or content.reasoning or "",
            tool_calls=progress.tool_calls(content.tool_calls or ()),
            logprobs=choice.logprobs.content if choice.logprobs else None,
            finish_reason=reason if len(self._choices) > 1 else None,
        )
        if piece != Piece(index=choice.index):
            self._count(piece)
            self._emit(piece)

    def _count(self, piece: Piece) -> None:
        arguments = "".join(call.arguments for call in piece.tool_calls)
        added = len((piece.text + piece.reasoning + arguments).encode())
        self._pieces += added > 0
        self._bytes += added


class ChoiceProgress:
    """How one choice ended, and the tool calls it has made so far.

    Calls are numbered here, from 0: upstreams leave the index out, or give several calls the same.
    Id and name are passed on once, since clients join what they get.
    """

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        self._ids: list[str] = []
        self._numbers: dict[int | None, int] = {}

    def end(self, told: str | None) -> FinishReason | None:
        """Take in why the choice ended, if it did; raises ``UpstreamMalformed`` for a bad end."""
        if not told:
            return None
        reason = FINISH_REASONS.get(told)
        if reason is None:
            raise UpstreamMalformed("the upstream ended its answer for an unknown reason")
        self.reason = reason
        return reason

    def tool_calls(self, parts: Iterable[ToolCallPart]) -> tuple[ToolCallDelta, ...]:
        """Return pieces of tool calls as the mesh writes them."""
        return tuple(self._tool_call(part) for part in parts)

    def _tool_call(self, part: ToolCallPart) -> ToolCallDelta:
        arguments = (part.function and part.function.arguments) or ""
        number = self._numbers.get(part.index)
        if number is not None and part.id in (None, "", self._ids[number]):
            return ToolCallDelta(index=number, arguments=arguments)
        number = self._numbers[part.index] = len(self._ids)
        self._ids.append(part.id or f"call_{uuid4().hex}")
        return ToolCallDelta(
            index=number,
            id=self._ids[number],
            name=part.function.name if part.function else None,
            arguments=arguments,
        )


def _tokens(size: int) -> int:
    return round(size / CHARS_PER_TOKEN)
