"""``/v1/files``: what is uploaded, and what the mesh wrote itself."""

from typing import Annotated, Literal, get_args

import msgspec

from schemas.openai import Body

SHORTEST_LIFE = 3600
LONGEST_LIFE = 30 * 24 * 3600
"""Seconds for which a file may be asked to be kept."""

Uploaded = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]
"""Purposes that a client may give a file."""
UPLOADED: tuple[Uploaded, ...] = get_args(Uploaded)
Purpose = Uploaded | Literal["batch_output"]


class ExpiresAfter(Body, frozen=True, kw_only=True):
    """For how many seconds a file is kept, counted from when it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=SHORTEST_LIFE, le=LONGEST_LIFE)]


class FileForm(Body, frozen=True, kw_only=True):
    """The form of an upload; ``expires_after`` comes as ``expires_after[anchor]`` and so on."""

    file: bytes
    purpose: Uploaded
    expires_after: ExpiresAfter | None = None


class FileObject(Body, frozen=True, kw_only=True):
    """A file; times in Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FileList(Body, frozen=True, kw_only=True):
    """A page of files."""

    object: Literal["list"] = "list"
    data: tuple[FileObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Body, frozen=True, kw_only=True):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
