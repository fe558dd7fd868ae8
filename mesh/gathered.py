"""The deltas of one answer put together: its choices, or what was computed of its inputs. Pure."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from schemas.frames import Delta, Done
from schemas.inference import Choice, FinishReason, FunctionCall, ToolCall

T = TypeVar("T")


class Rows(Generic[T]):
    """What was computed of each input, put in the order of the inputs."""

    def __init__(self) -> None:
        self._pieces: dict[int, tuple[T, ...]] = {}

    def add(self, index: int, rows: tuple[T, ...]) -> None:
        """Take in those of the inputs from ``index`` on."""
        if rows:
            self._pieces[index] = rows

    def whole(self) -> tuple[T, ...]:
        """Return all of them."""
        return tuple(
            row
            for _, rows in sorted(self._pieces.items(), key=lambda piece: piece[0])
            for row in rows
        )


class Gathered:
    """Takes in deltas; choices that never said anything are there, too, and empty."""

    def __init__(self, choices: int) -> None:
        self.vectors: Rows[bytes] = Rows()
        self.scores: Rows[float] = Rows()
        self.prompt_logprobs: list[dict[str, Any]] | None = None
        self._choices = [_Gathering() for _ in range(choices)]

    def add(self, delta: Delta) -> None:
        """Take in a delta; one for a choice that was not asked for is dropped."""
        self.vectors.add(delta.index, delta.vectors)
        self.scores.add(delta.index, delta.scores)
        if delta.prompt_logprobs is not None:
            self.prompt_logprobs = delta.prompt_logprobs
        if delta.index < len(self._choices):
            self._choices[delta.index].add(delta)

    def choices(self, done: Done) -> Iterator[Choice]:
        """Yield all choices; those of which no reason was told ended as the whole did."""
        return (choice.whole(done.finish_reason) for choice in self._choices)


class _Gathering:
    """One choice as its deltas come in."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._logprobs: list[dict[str, Any]] | None = None
        self._finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        self._text.append(delta.text)
        self._reasoning.append(delta.reasoning)
        for call in delta.tool_calls:
            known = self._calls.setdefault(call.index, (call.id or "", call.name or "", []))
            known[2].append(call.arguments)
        if delta.logprobs is not None:
            self._logprobs = self._logprobs or []
            self._logprobs += delta.logprobs
        if delta.finish_reason is not None:
            self._finish_reason = delta.finish_reason

    def whole(self, finish_reason: FinishReason) -> Choice:
        return Choice(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(
                ToolCall(id=call_id, function=FunctionCall(name=name, arguments="".join(arguments)))
                for _, (call_id, name, arguments) in sorted(self._calls.items())
            ),
            logprobs=self._logprobs,
            finish_reason=self._finish_reason or finish_reason,
        )
