"""A streamed chat completion that is kept."""

from typing import Final

from gateway.answer_stream import AnswerStream, Encoder
from gateway.chats.draft import Draft
from gateway.events import EventStream
from gateway.record import Record
from mesh.answer import Answer
from schemas.frames import Delta, Done

NOT_STORED: Final = b": not stored: %b\n\n"
"""A comment, since the headers are gone: clients ignore it, and people find it."""


class KeptStream(AnswerStream):
    """Writes an answer as it comes in; it is stored before a client hears of its end."""

    def __init__(
        self, answer: Answer, record: Record, events: EventStream, encoder: Encoder, draft: Draft
    ) -> None:
        super().__init__(answer, record, events, encoder)
        self._draft = draft

    async def _write(self, frame: Delta) -> None:
        self._draft.add(frame)
        await super()._write(frame)

    async def _complete(self, frame: Done) -> None:
        if self._events.ready:
            await self._events.flush()  # what was said does not wait for the store
        await self._draft.finish(frame)
        if self._draft.unstored is not None:
            self._events.add(NOT_STORED % self._draft.unstored.encode())
        await super()._complete(frame)
