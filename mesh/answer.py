"""The answer to one request: where it runs, its frames, or the whole completion."""

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol, Self

import msgspec

from mesh.gathered import Gathered
from mesh.trace import TraceContext
from schemas.fleet import Tier
from schemas.frames import Beat, Delta, Done
from schemas.inference import Completion, InferRequest, Usage

Output = Delta | Beat | Done
"""What a client of the router sees: new output, a sign of life every second, the end."""


class Frames(Protocol):
    """The frames of one answer, until the end or a ``MeshError``."""

    def __aiter__(self) -> AsyncIterator[Output]:
        """Return itself."""
        ...

    async def __anext__(self) -> Output:
        """Return the next frame."""
        ...

    async def aclose(self) -> None:
        """End whatever is under way; there is nothing after it."""
        ...


OK: Final = "ok"
"""How an attempt ended that gave the answer; others end with a failure's code."""
CANCELLED: Final = "cancelled"
"""How one ended whose answer was no longer wanted, or that another one overtook."""


class Tried(msgspec.Struct, gc=False):
    """One attempt at a request, and how it ended."""

    tier: Tier
    worker: str
    outcome: str = CANCELLED


class Route(msgspec.Struct, frozen=True):
    """Which worker answers, and why it was the cloud if it was."""

    tier: Tier
    worker: str
    fallback: str | None = None


class Answer:
    """Iterate for the frames, or await ``completion``; either raises ``MeshError``.

    An async context manager: leaving it cancels whatever still runs.
    """

    def __init__(self, request: InferRequest) -> None:
        self.request = request
        self.cloud_attempts = 0
        """How often a cloud worker has begun; each may cost money, also one that was lost."""
        self._route: Route | None = None
        self.resumes = 0
        """How often another worker went on where one was lost."""
        self.attempts: list[Tried] = []
        """Everything that was tried, in order; the refused ones, too."""
        self.waited = 0.0
        """Seconds in line."""
        self.usage: Usage | None = None
        """The tokens, once the answer is complete."""
        self.trace: TraceContext | None = None
        """The span that the attempts are parts of, as far as it is the router that answers."""
        self.more_at_hand = False
        """Whether another frame is there already: whoever writes can let it share a write."""
        self._frames: Frames | None = None

    @property
    def route(self) -> Route | None:
        """Known from the moment a worker accepted; the last one, if several tried."""
        return self._route

    @route.setter
    def route(self, route: Route | None) -> None:
        self._route = route
        self.cloud_attempts += route is not None and route.tier is Tier.CLOUD

    def wrap(self, wrapper: Callable[[Frames], Frames]) -> None:
        """Let the frames pass through others, which close those they were given."""
        if self._frames is None:
            raise RuntimeError("an answer is wrapped inside the context that opened it")
        self._frames = wrapper(self._frames)

    def attach(self, frames: Frames) -> None:
        """Set where the frames come from (the router)."""
        self._frames = frames

    def __aiter__(self) -> AsyncIterator[Output]:
        if self._frames is None:
            raise RuntimeError("an answer is iterated inside the context that opened it")
        return self._frames

    async def aclose(self) -> None:
        """Stop, and cancel what still runs."""
        frames, self._frames = self._frames, None
        if frames is not None:
            await frames.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def completion(self) -> Completion:
        """Return the whole answer once it is complete."""
        gathered = Gathered(self.request.n)
        async for frame in self:
            if isinstance(frame, Delta):
                gathered.add(frame)
            elif isinstance(frame, Done):
                return self._complete(gathered, frame)
        raise RuntimeError("frames end with Done or an error")

    def _complete(self, gathered: Gathered, done: Done) -> Completion:
        assert self.route is not None, "a worker accepted before it was done"  # noqa: S101
        first, *others = gathered.choices(done)
        return Completion(
            id=self.request.id,
            model=self.request.model,
            text=first.text,
            reasoning=first.reasoning,
            tool_calls=first.tool_calls,
            finish_reason=first.finish_reason,
            logprobs=first.logprobs,
            prompt_logprobs=gathered.prompt_logprobs,
            others=tuple(others),
            usage=done.usage,
            tier=self.route.tier,
            worker=self.route.worker,
            fallback=self.route.fallback,
            vectors=gathered.vectors.whole(),
            scores=gathered.scores.whole(),
        )
