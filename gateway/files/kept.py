"""A file as its record tells of it. Pure."""

import re
import secrets
from enum import StrEnum
from typing import Final

from gateway.problems import HttpError
from gateway.stored import Records
from mesh.objects import Place
from schemas.openai.files import FileObject, Purpose
from schemas.wire import Message

_ID: Final = re.compile("file-[A-Za-z0-9]{1,64}")


class Stage(StrEnum):
    """How far a file is; whoever dies in between leaves a record that says what to clear away."""

    ARRIVING = "arriving"
    """Its content is being written; nobody sees it."""
    READY = "ready"
    GOING = "going"
    """Its content is being removed; nobody sees it any more."""


class FileRecord(Message, frozen=True, kw_only=True):
    """What is known of a file; times in Unix seconds. content: token of the pieces."""

    id: str
    tenant: str
    content: str
    stage: Stage = Stage.ARRIVING
    bytes: int = 0
    created_at: int
    expires_at: int | None = None
    filename: str = ""
    purpose: Purpose = "user_data"

    @property
    def place(self) -> Place:
        """Where its content lies."""
        return Place(self.content, f"{self.tenant}/{self.id}/{self.content}")

    def is_there(self, now: float) -> bool:
        """Tell whether a client may see it."""
        return self.stage is Stage.READY and (self.expires_at is None or now < self.expires_at)

    def is_waste(self, now: float, longest: float) -> bool:
        """Tell whether it is to be cleared away; ``longest``: seconds that writing it may take."""
        if self.stage is Stage.ARRIVING:
            return now - self.created_at > longest
        return not self.is_there(now)

    def shown(self) -> FileObject:
        """Return it as clients see it."""
        return FileObject(
            id=self.id,
            bytes=self.bytes,
            created_at=self.created_at,
            expires_at=self.expires_at,
            filename=self.filename,
            purpose=self.purpose,
        )


FILES: Final = Records(FileRecord)


class FileNotFound(HttpError):
    """The tenant has no such file."""

    status = 404
    code = "file_not_found"

    def __init__(self, file_id: str, *, param: str | None = "id") -> None:
        super().__init__(f"No such File object: {file_id[:100]}", param=param)


class FileInUse(HttpError):
    """A batch still reads the file."""

    status = 409
    code = "file_in_use"


def is_id(text: str) -> bool:
    """Tell whether a text from outside can be an id at all, and so may enter a key."""
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return an id that no file has."""
    return f"file-{secrets.token_hex(16)}"


def new_content() -> str:
    """Return a token that no content has."""
    return secrets.token_hex(12)
