"""A chat completion as it is kept: a row to find it by, and what was said. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, field

from gateway.problems import HttpError
from gateway.stored import Records
from schemas.inference import ToolCall
from schemas.openai.chat import CalledFunction, CalledTool, ChatCompletion, ContentPart, Turn
from schemas.openai.stored_chats import StoredCompletion, StoredMessage
from schemas.wire import Message


class ChatRow(Message, frozen=True, kw_only=True):
    """What lists are made of, and all that can be changed.

    created_ms: milliseconds since 1970. size: bytes of what was said. expires_at: Unix seconds.
    """

    id: str
    created_ms: int
    expires_at: float
    model: str
    size: int
    metadata: dict[str, str] = field(default_factory=dict)


class KeptChat(Message, frozen=True, kw_only=True):
    """What was said: the answer, and the messages that it was given. It never changes."""

    completion: ChatCompletion
    messages: tuple[Turn, ...]


ROWS: Final = Records(ChatRow)
CHATS: Final = Records(KeptChat)


class ChatNotFound(HttpError):
    """The tenant has stored no such chat completion."""

    status = 404
    code = "chat_completion_not_found"

    def __init__(self, completion_id: str) -> None:
        super().__init__(f"No chat completion found with id '{completion_id[:100]}'.", param="id")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which chat completions a list is of; ``None`` and no metadata: all of them."""

    model: str | None = None
    metadata: Mapping[str, str]

    def among(self, rows: Iterable[ChatRow]) -> list[ChatRow]:
        """Return those that fit, in the order in which they were made."""
        fitting = (row for row in rows if self._fits(row))
        return sorted(fitting, key=lambda row: (row.created_ms, row.id))

    def _fits(self, row: ChatRow) -> bool:
        if self.model not in (None, row.model):
            return False
        return self.metadata.items() <= row.metadata.items()


def row_of(
    kept: KeptChat, metadata: dict[str, str], *, size: int, now: float, ttl: float
) -> ChatRow:
    """Return the row of a chat completion made ``now`` (Unix seconds); ``ttl``: seconds."""
    return ChatRow(
        id=kept.completion.id,
        created_ms=int(now * 1000),
        expires_at=now + ttl,
        model=kept.completion.model,
        size=size,
        metadata=metadata,
    )


def shown(completion: ChatCompletion, metadata: dict[str, str]) -> StoredCompletion:
    """Return an answer that is kept, as clients see it."""
    return StoredCompletion(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        choices=completion.choices,
        usage=completion.usage,
        metadata=metadata,
    )


def messages_of(kept: KeptChat) -> tuple[StoredMessage, ...]:
    """Return the messages that an answer was given; their ids count from 0."""
    return tuple(
        _message(f"{kept.completion.id}-{index}", turn) for index, turn in enumerate(kept.messages)
    )


def _message(message_id: str, turn: Turn) -> StoredMessage:
    parts = turn.content if isinstance(turn.content, tuple) else None
    calls = tuple(map(_called, turn.tool_calls or ()))
    return StoredMessage(
        id=message_id,
        role=turn.role,
        content=_text(turn.content),
        name=turn.name,
        content_parts=parts,
        tool_calls=calls or UNSET,
        tool_call_id=turn.tool_call_id or UNSET,
    )


def _text(content: str | tuple[ContentPart, ...] | None) -> str | None:
    if isinstance(content, tuple):
        return "".join(part.text or part.refusal or "" for part in content)
    return content


def _called(call: ToolCall) -> CalledTool:
    """Return a call with all of its fields: as it came in, what is always the same goes unsaid."""
    function = CalledFunction(name=call.function.name, arguments=call.function.arguments)
    return CalledTool(id=call.id, function=function)
