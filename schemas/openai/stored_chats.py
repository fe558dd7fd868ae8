"""Chat completions that are kept: as they are looked up, listed, changed and deleted.

Field names and shapes: OpenAI API reference, "List chat completions" and what follows it.
"""

from typing import Literal

from msgspec import UNSET, UnsetType

from schemas.inference import Role
from schemas.openai import Body
from schemas.openai.chat import CalledTool, ChatCompletion, ContentPart
from schemas.openai.metadata import Metadata


class StoredCompletion(ChatCompletion, frozen=True, kw_only=True):
    """An answer that is kept, also as it is first given."""

    metadata: dict[str, str]


class CompletionChange(Body, frozen=True, kw_only=True):
    """What can be changed of a stored answer: its metadata, all of it at once."""

    metadata: Metadata | None


class CompletionDeleted(Body, frozen=True, kw_only=True):
    """What a deletion answers."""

    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: bool = True


class CompletionList(Body, frozen=True, kw_only=True):
    """A page of stored answers."""

    object: Literal["list"] = "list"
    data: tuple[StoredCompletion, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoredMessage(Body, frozen=True, kw_only=True):
    """A message that an answer was given.

    content: the text that the model read. content_parts: the message as it was sent, where it was
    sent in parts.
    """

    id: str
    role: Role
    content: str | None
    name: str | None = None
    refusal: None = None
    content_parts: tuple[ContentPart, ...] | None = None
    tool_calls: tuple[CalledTool, ...] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class MessageList(Body, frozen=True, kw_only=True):
    """A page of messages."""

    object: Literal["list"] = "list"
    data: tuple[StoredMessage, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool
