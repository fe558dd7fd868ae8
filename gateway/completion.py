"""The frames of an answer, gathered into one chat completion."""

from typing import Any

from msgspec import UNSET

from gateway.calls import CallGatherer, GatheredCall
from gateway.usage import to_usage
from schemas.frames import Delta, Done
from schemas.inference import FinishReason
from schemas.openai.chat import (
    AssistantMessage,
    CalledFunction,
    CalledTool,
    ChatCompletion,
    Choice,
    Logprobs,
)


class _Gathering:
    """One choice as its deltas come in."""

    __slots__ = ("calls", "finish_reason", "index", "logprobs", "reasoning", "text")

    def __init__(self, index: int) -> None:
        self.index = index
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls = CallGatherer(lambda number: f"call_{index}_{number}")
        self.logprobs: list[dict[str, Any]] | None = None
        self.finish_reason: FinishReason | None = None

    def add(self, frame: Delta) -> None:
        self.text.append(frame.text)
        if frame.reasoning:
            self.reasoning.append(frame.reasoning)
        for piece in frame.tool_calls:
            self.calls.add(piece)
        if frame.logprobs is not None:
            self.logprobs = [*(self.logprobs or ()), *frame.logprobs]
        if frame.finish_reason is not None:
            self.finish_reason = frame.finish_reason

    def whole(self, finish_reason: FinishReason) -> Choice:
        text = "".join(self.text)
        calls = tuple(map(_whole, self.calls))
        return Choice(
            index=self.index,
            message=AssistantMessage(
                content=text if text or not calls else None,
                reasoning_content="".join(self.reasoning) or UNSET,
                tool_calls=calls or UNSET,
            ),
            finish_reason=self.finish_reason or finish_reason,
            logprobs=None if self.logprobs is None else Logprobs(content=self.logprobs),
        )


class Gatherer:
    """Collects deltas; choices that never said anything are there, too, and empty."""

    def __init__(self, choices: int) -> None:
        self._choices = [_Gathering(index) for index in range(choices)]

    def add(self, frame: Delta) -> None:
        """Take in a delta; one for a choice that was not asked for is dropped."""
        if frame.index < len(self._choices):
            self._choices[frame.index].add(frame)

    def complete(
        self, done: Done, *, completion_id: str, model: str, created: int
    ) -> ChatCompletion:
        """Return the whole answer."""
        return ChatCompletion(
            id=completion_id,
            created=created,
            model=model,
            choices=tuple(choice.whole(done.finish_reason) for choice in self._choices),
            usage=to_usage(done.usage),
        )


def _whole(call: GatheredCall) -> CalledTool:
    return CalledTool(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments))
