"""The operations of the HTTP API, one entry each: what ``GET /openapi.json`` is made of.

Whoever adds a route below ``/v1`` adds an entry to ``OPERATIONS``; a test compares the two.
"""

from typing import Annotated, Final

from msgspec import Meta

from gateway.batches.endpoint import LARGEST_LIMIT as MOST_BATCHES
from gateway.chats.described import CHATS
from gateway.files.endpoint import LARGEST_LIMIT as MOST_FILES
from gateway.operation import (
    LOOKED_UP,
    MESSAGED,
    ORDER,
    SETTLED,
    STORED,
    SUBMITTED,
    Operation,
    Query,
    paged,
)
from gateway.responses.pages import LARGEST_LIMIT as MOST_ITEMS
from schemas.anthropic import errors as anthropic
from schemas.anthropic.answer import Event, Message, TokenCount
from schemas.anthropic.messages import Conversation, MessagesRequest
from schemas.openai.batches import Batch, BatchList, BatchRequest
from schemas.openai.chat import ChatCompletion, ChatCompletionChunk, ChatRequest
from schemas.openai.completions import CompletionRequest, TextCompletion, TextCompletionChunk
from schemas.openai.embeddings import EmbeddingList, EmbeddingRequest
from schemas.openai.files import FileDeleted, FileForm, FileList, FileObject
from schemas.openai.models import Model, ModelList
from schemas.openai.rerank import Ranking, RerankRequest
from schemas.openai.response_events import ResponseEvent
from schemas.openai.response_object import InputTokens, ItemList, Response, ResponseDeleted
from schemas.openai.responses import ResponsesRequest

OPERATIONS: Final = (
    Operation(
        method="post",
        path="/v1/chat/completions",
        tag="Chat",
        summary="Continue a conversation, whole or as a stream",
        request=ChatRequest,
        answer=ChatCompletion,
        event=ChatCompletionChunk,
        last="[DONE]",
        example=b'{"model": "spark", "messages": [{"role": "user", "content": "What is NATS?"}]}',
    ),
    *CHATS,
    Operation(
        method="post",
        path="/v1/completions",
        tag="Completions",
        summary="Go on from a text as it is, without a chat template",
        request=CompletionRequest,
        answer=TextCompletion,
        event=TextCompletionChunk,
        last="[DONE]",
        example=b'{"model": "spark", "prompt": "NATS is", "max_tokens": 16}',
    ),
    Operation(
        method="post",
        path="/v1/responses",
        tag="Responses",
        summary="Continue a conversation that is kept: whole, streamed, or in the background",
        request=ResponsesRequest,
        answer=Response,
        event=ResponseEvent,
        example=b'{"model": "spark", "input": "What is NATS?"}',
    ),
    Operation(
        method="post",
        path="/v1/responses/input_tokens",
        tag="Responses",
        summary="Count the tokens of a prompt without computing it",
        request=ResponsesRequest,
        answer=InputTokens,
        example=b'{"model": "spark", "input": "What is NATS?"}',
    ),
    Operation(
        method="get",
        path="/v1/responses/{id}",
        tag="Responses",
        summary="Look a response up; one in the background as far as it is, or its events",
        answer=Response,
        event=ResponseEvent,
        failures=STORED,
        query=(
            Query(name="stream", kind=bool, about="Whether to stream the events."),
            Query(
                name="starting_after",
                kind=Annotated[int, Meta(ge=0, lt=10**9)],
                about="The sequence number of the event before the first.",
            ),
        ),
    ),
    Operation(
        method="delete",
        path="/v1/responses/{id}",
        tag="Responses",
        summary="Forget a response, and end it if it still runs",
        answer=ResponseDeleted,
        failures=STORED,
    ),
    Operation(
        method="get",
        path="/v1/responses/{id}/input_items",
        tag="Responses",
        summary="List what a response was given",
        answer=ItemList,
        failures=STORED,
        query=(ORDER, *paged("item", "Items", MOST_ITEMS)),
    ),
    Operation(
        method="post",
        path="/v1/responses/{id}/cancel",
        tag="Responses",
        summary="End a response in the background",
        answer=Response,
        failures=STORED,
    ),
    Operation(
        method="post",
        path="/v1/messages",
        tag="Messages",
        summary="Continue a conversation as Anthropic's clients ask for it, whole or as a stream",
        request=MessagesRequest,
        answer=Message,
        event=Event,
        errors=anthropic.ErrorEnvelope,
        failures=MESSAGED,
        example=(
            b'{"model": "spark", "max_tokens": 64,'
            b' "messages": [{"role": "user", "content": "What is NATS?"}]}'
        ),
    ),
    Operation(
        method="post",
        path="/v1/messages/count_tokens",
        tag="Messages",
        summary="Count the tokens of a prompt without computing it",
        request=Conversation,
        answer=TokenCount,
        errors=anthropic.ErrorEnvelope,
        failures=MESSAGED,
        example=b'{"model": "spark", "messages": [{"role": "user", "content": "What is NATS?"}]}',
    ),
    Operation(
        method="post",
        path="/v1/embeddings",
        tag="Embeddings",
        summary="Turn texts into vectors",
        request=EmbeddingRequest,
        answer=EmbeddingList,
        example=b'{"model": "embedder", "input": ["edge first", "cloud last"]}',
    ),
    Operation(
        method="post",
        path="/v1/rerank",
        tag="Rerank",
        summary="Order documents by how well they answer a query",
        request=RerankRequest,
        answer=Ranking,
        example=b'{"model": "ranker", "query": "edge", "documents": ["near", "far away"]}',
    ),
    Operation(
        method="post",
        path="/v1/files",
        tag="Files",
        summary="Upload a file",
        form=FileForm,
        answer=FileObject,
        failures=SUBMITTED,
    ),
    Operation(
        method="get",
        path="/v1/files",
        tag="Files",
        summary="List files, the newest first unless told otherwise",
        answer=FileList,
        failures=STORED,
        query=(
            ORDER,
            *paged("file", "Files", MOST_FILES),
            Query(name="purpose", kind=str, about="Only files with this purpose."),
        ),
    ),
    Operation(
        method="get",
        path="/v1/files/{id}",
        tag="Files",
        summary="Look a file up",
        answer=FileObject,
        failures=STORED,
    ),
    Operation(
        method="delete",
        path="/v1/files/{id}",
        tag="Files",
        summary="Delete a file that no batch reads",
        answer=FileDeleted,
        failures=SETTLED,
    ),
    Operation(
        method="get",
        path="/v1/files/{id}/content",
        tag="Files",
        summary="Download a file",
        answer=None,
        failures=STORED,
    ),
    Operation(
        method="post",
        path="/v1/batches",
        tag="Batches",
        summary="Have the requests in a file answered within a day",
        request=BatchRequest,
        answer=Batch,
        failures=SUBMITTED,
        example=(
            b'{"input_file_id": "file-7c0ffee", "endpoint": "/v1/chat/completions",'
            b' "completion_window": "24h"}'
        ),
    ),
    Operation(
        method="get",
        path="/v1/batches",
        tag="Batches",
        summary="List batches, the newest first",
        answer=BatchList,
        failures=STORED,
        query=paged("batch", "Batches", MOST_BATCHES),
    ),
    Operation(
        method="get",
        path="/v1/batches/{id}",
        tag="Batches",
        summary="Look a batch up, with how far it is",
        answer=Batch,
        failures=STORED,
    ),
    Operation(
        method="post",
        path="/v1/batches/{id}/cancel",
        tag="Batches",
        summary="Cancel a batch; what is computed by then is given out",
        answer=Batch,
        failures=SETTLED,
    ),
    Operation(
        method="get",
        path="/v1/models",
        tag="Models",
        summary="List the models that can be asked for",
        answer=ModelList,
        failures=LOOKED_UP,
    ),
    Operation(
        method="get",
        path="/v1/models/{id}",
        tag="Models",
        summary="Look one model up; its id may contain slashes",
        answer=Model,
        failures=LOOKED_UP,
    ),
)
