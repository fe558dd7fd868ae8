"""The scripted engine: numbered tokens at a set pace, for load tests, fault tests and front ends.

Token *i* is the text ``"i "``, so that a reader can tell a lost, repeated or reordered one at once.
Background attempts pause while interactive ones want their slots.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from mesh.clock import Clock, monotonic
from mesh.errors import ContextLengthExceeded
from schemas.fleet import ModelStatus
from schemas.inference import Ability, Dispatch, FinishReason, InferRequest, Task, Usage
from workers import scripted_inputs
from workers.engine import Emit, Finish, Piece
from workers.turns import Turns

BURST = 256
"""Tokens emitted at full speed before others get a turn."""


@dataclass(frozen=True, kw_only=True)
class ScriptedSettings:
    """The script.

    ttft_ms: milliseconds before the first token. tps: tokens/s after it, 0 for as fast as possible.
    tokens: length of an answer unless the request wants less. context: tokens, counted as words.
    """

    name: str = "scripted"
    slots: int = 4
    ttft_ms: float = 0.0
    tps: float = 0.0
    tokens: int = 16
    context: int = 8192


class ScriptedEngine:
    """An ``Engine`` that needs no model."""

    def __init__(self, settings: ScriptedSettings | None = None, clock: Clock = monotonic) -> None:
        self._settings = settings or ScriptedSettings()
        self._clock = clock
        script = self._settings
        self._turns = Turns(script.slots)
        self._status = ModelStatus(
            name=script.name,
            digest=f"scripted:{script.tokens}",
            context=script.context,
            slots=script.slots,
            kv_free=script.context * script.slots,
            decode_rate=script.tps,
            overhead_ms=script.ttft_ms,
            abilities=(Ability.EMBEDDINGS.value, Ability.RERANK.value),
        )

    @property
    def gives_way(self) -> bool:
        """Whether background attempts are interrupted: between two tokens."""
        return True

    def status(self) -> ModelStatus:
        """Return what the script promises."""
        return self._status

    async def run(self, changed: Callable[[], None]) -> None:
        """Be ready at once."""
        changed()
        await anyio.sleep_forever()

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Emit the numbered tokens that follow those already emitted, or what inputs give."""
        with self._turns.join(work.request.urgency) as turn:
            if work.request.task is not Task.GENERATE:
                return await self._take_inputs(work.request, emit, turn)
            return await self._count(work, emit, turn)

    async def _count(self, work: Dispatch, emit: Emit, turn: asyncio.Event) -> Finish:
        request = work.request
        prompt_tokens = _count_words(request)
        if prompt_tokens >= self._settings.context:
            raise ContextLengthExceeded(
                f"the prompt has {prompt_tokens} tokens, the context {self._settings.context}",
                param="messages",
            )
        texts, reason = self._answer(request)
        if self._settings.ttft_ms > 0:
            await asyncio.sleep(self._settings.ttft_ms / 1000)
        await self._play(texts, len(work.emitted), emit, turn)
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=len(texts))
        return Finish(reason, usage)

    async def _take_inputs(self, request: InferRequest, emit: Emit, turn: asyncio.Event) -> Finish:
        scripted_inputs.check(request, self._settings.context)
        if self._settings.ttft_ms > 0:
            await asyncio.sleep(self._settings.ttft_ms / 1000)
        for start in range(0, len(request.inputs), BURST):
            await turn.wait()
            entries = request.inputs[start : start + BURST]
            if request.task is Task.EMBED:
                found = (scripted_inputs.vector(entry, request.dimensions) for entry in entries)
                emit(Piece(index=start, vectors=tuple(found)))
            else:
                scores = (scripted_inputs.score(request.query, entry) for entry in entries)
                emit(Piece(index=start, scores=tuple(scores)))
            await asyncio.sleep(0)
        tokens = sum(map(scripted_inputs.count_tokens, request.inputs))
        return Finish("stop", Usage(prompt_tokens=tokens))

    def _answer(self, request: InferRequest) -> tuple[list[str], FinishReason]:
        script = self._settings.tokens
        limit = script if request.max_tokens is None else request.max_tokens
        texts = [f"{number} " for number in range(min(script, limit))]
        reason: FinishReason = "length" if limit < script else "stop"
        cuts = [cut for stop in request.stop if (cut := "".join(texts).find(stop)) >= 0]
        if not cuts:
            return texts, reason
        return _cut(texts, min(cuts)), "stop"

    async def _play(self, texts: list[str], first: int, emit: Emit, turn: asyncio.Event) -> None:
        pace = self._settings.tps
        start = self._clock()
        for number in range(first, len(texts)):
            if pace > 0:
                await asyncio.sleep(start + (number - first) / pace - self._clock())
            if not turn.is_set():
                paused = self._clock()
                await turn.wait()
                start += self._clock() - paused
            if pace <= 0 and number % BURST == BURST - 1:
                await asyncio.sleep(0)
            emit(Piece(texts[number], (number,)))


def _count_words(request: InferRequest) -> int:
    return sum(len(message.content.split()) for message in request.messages)


def _cut(texts: list[str], length: int) -> list[str]:
    """Return the tokens of the first ``length`` characters, the last one shortened."""
    kept: list[str] = []
    for text in texts:
        if length <= 0:
            break
        kept.append(text[:length])
        length -= len(text)
    return kept
