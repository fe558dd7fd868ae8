"""What is kept of chat completions, as operations of the HTTP API."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from gateway.chats.archive import LARGEST_LIMIT
from gateway.operation import STORED, SUBMITTED, Operation, Query
from schemas.openai.metadata import Metadata
from schemas.openai.stored_chats import (
    CompletionChange,
    CompletionDeleted,
    CompletionList,
    MessageList,
    StoredCompletion,
)

ORDER: Final = Query(name="order", kind=Literal["asc", "desc"], about="Oldest or newest first.")
_AtMost = Annotated[int, Meta(ge=1, le=LARGEST_LIMIT)]

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
            Query(name="limit", kind=_AtMost, about="Chat completions at most."),
            Query(name="after", kind=str, about="The id of the one before the first."),
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
        query=(
            ORDER,
            Query(name="limit", kind=_AtMost, about="Messages at most."),
            Query(name="after", kind=str, about="The id of the message before the first."),
        ),
    ),
)
