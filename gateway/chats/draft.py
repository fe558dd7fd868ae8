"""An answer that is to be kept, as it comes in."""

import time

from gateway.chats.archive import ChatArchive
from gateway.chats.kept import KeptChat, shown
from gateway.completion import Gatherer
from gateway.reception import Visit
from gateway.responses.ids import new_token
from schemas.frames import Delta, Done
from schemas.openai.chat import ChatRequest
from schemas.openai.stored_chats import StoredCompletion


class Draft:
    """Gathers one answer and puts it into the archive.

    Its id is no caller's own, as the request's may be, so it is that of no other answer.
    """

    def __init__(self, visit: Visit[ChatRequest], archive: ChatArchive) -> None:
        self.id = f"chatcmpl-{new_token()}"
        self.created = int(time.time())
        self.unstored: str | None = None
        """Why the answer could not be stored, once it is finished."""
        self._visit, self._archive = visit, archive
        self._gatherer = Gatherer(visit.answer.request.n)

    def add(self, frame: Delta) -> None:
        """Take in new output."""
        self._gatherer.add(frame)

    async def finish(self, done: Done) -> StoredCompletion:
        """Store the answer, and return it."""
        visit = self._visit
        completion = self._gatherer.complete(
            done, completion_id=self.id, model=visit.record.model, created=self.created
        )
        metadata = visit.body.metadata or {}
        kept = KeptChat(completion=completion, messages=visit.body.messages)
        self.unstored = await self._archive.keep(visit.answer.request.tenant, kept, metadata)
        return shown(completion, metadata)
