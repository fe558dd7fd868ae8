"""One response to be made: what the mesh is asked, and what is kept of it afterwards."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.responses.archive import Archive
from gateway.responses.composer import Composer
from gateway.responses.kept import History, Kept, weigh
from mesh.answer import Answer
from schemas.frames import Delta, Done
from schemas.inference import InferRequest
from schemas.openai.response_events import Event
from schemas.openai.response_items import Item
from schemas.openai.response_object import Response

Tell = Callable[[Iterable[Event]], None]
"""Takes the events of a response as they happen."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request for a response, translated; ``items`` is the input of this turn alone."""

    infer: InferRequest
    draft: Response
    token: str
    items: tuple[Item, ...]
    history: History

    @property
    def is_streamed(self) -> bool:
        """Whether its events are kept: those of a response in the background are, if asked for."""
        return self.draft.background and self.infer.stream

    def composer(self) -> Composer:
        """Return what puts the response together."""
        return Composer(self.draft, self.token)

    def kept(self, response: Response) -> Kept:
        """Return the response as it is stored, under the policy it was made under."""
        return Kept(
            policy=self.infer.policy,
            response=response,
            input=self.items,
            ancestors=self.history.ancestors,
            streamed=self.is_streamed,
            weight=self.history.weight + weigh((*self.items, *response.output)),
        )

    async def keep(self, response: Response, archive: Archive) -> tuple[Response, str | None]:
        """Store a response, if it is to be; return it as it then is, and why it is not stored."""
        if not response.store:
            return response, None
        reason = await archive.keep(self.infer.tenant, self.kept(response))
        return (response if reason is None else replace(response, store=False)), reason


async def compose(answer: Answer, composer: Composer, tell: Tell) -> None:
    """Put a whole response together; raises ``MeshError``."""
    async for frame in answer:
        if isinstance(frame, Delta):
            tell(composer.add(frame))
        elif isinstance(frame, Done):
            tell(composer.finish(frame, int(time.time())))


def to_nobody(_: Iterable[Event]) -> None:
    """Drop the events of a response that nobody watches."""
