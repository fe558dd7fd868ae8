"""The seam between the bus side of a worker and what computes: one engine answers for one model."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import msgspec

from schemas.fleet import ModelStatus
from schemas.frames import ToolCallDelta
from schemas.inference import Dispatch, FinishReason, Usage


class Piece(msgspec.Struct, gc=False):
    """New output: of one choice, or the vectors or scores of the inputs from ``index`` on.

    text: whole UTF-8 text; ids: the tokens that text, reasoning and tool calls were made from.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: list[dict[str, Any]] | None = None
    finish_reason: FinishReason | None = None
    vectors: tuple[bytes, ...] = ()
    scores: tuple[float, ...] = ()
    prompt_logprobs: list[dict[str, Any]] | None = None


class Finish(msgspec.Struct, frozen=True):
    """How a generation ended, and what it took; ``stop``: the stop text that ended it, if any."""

    reason: FinishReason
    usage: Usage
    stop: str = ""


Emit = Callable[[Piece], None]
"""Takes new output at once and never blocks; the agent coalesces and sends."""


class Engine(Protocol):
    """Computes completions for one model.

    The agent admits at most ``status().slots`` interactive attempts at a time, and background ones
    only while all together are fewer, so an engine keeps no queue.
    """

    @property
    def gives_way(self) -> bool:
        """Whether background attempts are interrupted for interactive ones that come later.

        Where they are not, a slot that one of them holds is taken for everybody.
        """
        ...

    def status(self) -> ModelStatus:
        """Return what to advertise; the counts of slots that are left are the agent's."""
        ...

    async def run(self, changed: Callable[[], None]) -> None:
        """Load the model and keep it up until cancelled; call ``changed`` when the status moved.

        Never raises for a model that cannot be loaded: the status says ``failed`` and why.
        """
        ...

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Compute one attempt; where the model is ``available``, load it first.

        Cancelling the call stops the computation within one step and frees the sequence; so does
        the passing of ``work.remaining_ms`` (raises ``DeadlineExceeded``). Raises ``MeshError``.
        """
        ...


@runtime_checkable
class Loadable(Protocol):
    """An engine whose model can be told to come into memory and to leave it."""

    def load(self) -> None:
        """Have the model loaded, although nobody uses it yet."""
        ...

    def unload(self) -> None:
        """Have the model leave as soon as nobody uses it; its next use loads it again."""
        ...
