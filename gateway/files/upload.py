"""Reading an upload: a form whose file passes through, piece by piece, wherever it stands in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage
from msgspec.structs import replace

from gateway.files.kept import FileRecord
from gateway.problems import BadRequest, BodyTooLarge, RequestTimeout
from schemas.openai.files import LONGEST_LIFE, SHORTEST_LIFE, UPLOADED, ExpiresAfter

LONGEST_FIELD: Final = 1024
"""Bytes of a field that is not the file."""
LONGEST_NAME: Final = 255
MOST_PARTS: Final = 16
OVERHEAD: Final = 64 * 1024
"""Bytes that a form may have beside its file."""
PIECE: Final = 64 * 1024
WITHIN: Final = 3600.0
"""Seconds for a whole upload."""

Write = Callable[[bytes], Awaitable[None]]


@dataclass
class Form:
    """What an upload said, beside its content."""

    filename: str | None = None
    fields: dict[str, str] = field(default_factory=dict)

    def complete(self, record: FileRecord) -> FileRecord:
        """Return the record with what was said; raises ``BadRequest`` naming the field."""
        if self.filename is None:
            raise BadRequest("The field 'file' is missing.", param="file")
        purpose = self.fields.get("purpose")
        if purpose is None:
            raise BadRequest("The field 'purpose' is missing.", param="purpose")
        if purpose not in UPLOADED:
            raise BadRequest(f"'purpose' is one of {', '.join(UPLOADED)}.", param="purpose")
        life = self._expires_after()
        return replace(
            record,
            filename=self.filename,
            purpose=purpose,
            expires_at=None if life is None else record.created_at + life.seconds,
        )

    def _expires_after(self) -> ExpiresAfter | None:
        names = {name: f"expires_after[{name}]" for name in ("anchor", "seconds")}
        given = {key: self.fields[name] for key, name in names.items() if name in self.fields}
        if not given and "expires_after" not in self.fields:
            return None
        try:  # a bare 'expires_after' has neither, and is refused rather than passed over
            return msgspec.convert(given, ExpiresAfter, strict=False)
        except msgspec.ValidationError:
            raise BadRequest(
                "'expires_after' is the anchor created_at and a whole number of seconds from "
                f"{SHORTEST_LIFE} to {LONGEST_LIFE}.",
                param="expires_after",
            ) from None


class UploadReader:
    """Reads the form of one request."""

    def __init__(self, request: web.Request, *, limit: int, patience: float) -> None:
        """``limit``: bytes of a file; ``patience``: seconds in which something more has to come."""
        self._request, self._limit, self._patience = request, limit, patience
        self._size = 0

    def check(self) -> None:
        """Raise ``BadRequest`` or ``BodyTooLarge`` for what the head of the request tells."""
        if self._request.headers.get("Content-Encoding") is not None:
            raise BadRequest("Send the body uncompressed.", param="Content-Encoding")
        if self._request.content_type != "multipart/form-data":
            raise BadRequest("Send the file as multipart/form-data.", param="Content-Type")
        if (self._request.content_length or 0) > self._limit + OVERHEAD:
            raise self._too_large()

    async def read(self, write: Write) -> Form:
        """Return what the form says, and write the file as it comes.

        Raises ``BadRequest``, ``BodyTooLarge``, ``RequestTimeout``, and whatever ``write`` does.
        """
        form = Form()
        async with _in_time(WITHIN), _well_formed():
            parts = await self._request.multipart()
            for _ in range(MOST_PARTS):
                async with _in_time(self._patience):
                    part = await parts.next()
                if part is None:
                    return form
                await self._take(part, form, write)
        raise BadRequest(f"The form has more than {MOST_PARTS} fields.")

    async def _take(self, part: MultipartReader | BodyPartReader, form: Form, write: Write) -> None:
        if isinstance(part, MultipartReader) or not part.name:
            raise BadRequest("The form has a part that is no field.")
        if part.name != "file":
            form.fields[part.name] = await self._text(part)
            return
        if form.filename is not None:
            raise BadRequest("The field 'file' is given more than once.", param="file")
        form.filename = _clean(part.filename or "upload")
        async for piece in self._pieces(part):
            self._size += len(piece)
            if self._size > self._limit:
                raise self._too_large()
            await write(piece)

    async def _text(self, part: BodyPartReader) -> str:
        text = b""
        async for piece in self._pieces(part):
            text += piece
            if len(text) > LONGEST_FIELD:
                raise BadRequest(f"The field '{part.name}' is too long.", param=part.name)
        return text.decode()

    async def _pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while True:
            async with _in_time(self._patience):
                piece = await part.read_chunk(PIECE)
            if not piece:
                return
            yield bytes(piece)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The file is larger than {self._limit} bytes.", param="file")


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RequestTimeout("The file did not arrive in time.") from None


@asynccontextmanager
async def _well_formed() -> AsyncIterator[None]:
    """Turn what aiohttp raises for a form that is none into a refusal."""
    try:
        yield
    except (ValueError, AssertionError, RuntimeError, BadHttpMessage, web.RequestPayloadError):
        raise BadRequest("The body is not a valid form.") from None


def _clean(name: str) -> str:
    """Return a file's name without what could be more than a name where it is shown."""
    return "".join(each for each in name if each.isprintable())[:LONGEST_NAME] or "upload"
