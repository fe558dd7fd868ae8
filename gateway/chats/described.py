"""What is kept of chat completions, as operations of the HTTP API."""

from typing import Final

from gateway.chats.archive import LARGEST_LIMIT
from gateway.operation import ORDER, STORED, SUBMITTED, Operation, Query, paged
from schemas.openai.metadata import Metadata
from schemas.openai.stored_chats import (
    CompletionChange,
    CompletionDeleted,
    CompletionList,
    MessageList,
    StoredCompletion,
)

CHATS: Final = (
    Operation(
        method="get",
        path="/v1/chat/completions",
        tag="Chat",
        summary="List stored chat completions, the oldest first unless told otherwise",
        answer=CompletionList,
        failures=STORED,
        query=(
            ORDER,
            *paged("chat completion", "Chat completions", LARGEST_LIMIT),
            Query(name="model", kind=str, about="Only those of a model."),
            Query(name="metadata", kind=Metadata, about="Only those with these metadata."),
        ),
    ),
    Operation(
        method="get",
        path="/v1/chat/completions/{id}",
        tag="Chat",
        summary="Look a stored chat completion up",
        answer=StoredCompletion,
        failures=STORED,
    ),
    Operation(
        method="post",
        path="/v1/chat/completions/{id}",
        tag="Chat",
        summary="Give a stored chat completion other metadata",
        request=CompletionChange,
        answer=StoredCompletion,
        failures=(*SUBMITTED, 409),
        steered=False,
        example=b'{"metadata": {"topic": "brokers"}}',
    ),
    Operation(
        method="delete",
        path="/v1/chat/completions/{id}",
        tag="Chat",
        summary="Forget a stored chat completion",
        answer=CompletionDeleted,
        failures=STORED,
    ),
    Operation(
        method="get",
        path="/v1/chat/completions/{id}/messages",
        tag="Chat",
        summary="List the messages that a stored chat completion was given",
        answer=MessageList,
        failures=STORED,
        query=(ORDER, *paged("message", "Messages", LARGEST_LIMIT)),
    ),
)
