"""One response to be made: what the mesh is asked, and what is kept of it afterwards."""

import time
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.responses.archive import Archive
from gateway.responses.composer import Composer
from gateway.responses.kept import History, Kept, weigh
from mesh.answer import Answer
from schemas.frames import Delta, Done
from schemas.inference import InferRequest
from schemas.openai.response_items import Item
from schemas.openai.response_object import Response


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request for a response, translated; ``items`` is the input of this turn alone."""

    infer: InferRequest
    draft: Response
    token: str
    items: tuple[Item, ...]
    history: History

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
            weight=self.history.weight + weigh((*self.items, *response.output)),
        )

    async def keep(self, response: Response, archive: Archive) -> tuple[Response, str | None]:
        """Store a response, if it is to be; return it as it then is, and why it is not stored."""
        if not response.store:
            return response, None
        reason = await archive.keep(self.infer.tenant, self.kept(response))
        return (response if reason is None else replace(response, store=False)), reason


async def compose(answer: Answer, composer: Composer) -> None:
    """Put a whole response together, with nobody watching; raises ``MeshError``."""
    async for frame in answer:
        if isinstance(frame, Delta):
            composer.add(frame)
        elif isinstance(frame, Done):
            composer.finish(frame, int(time.time()))
