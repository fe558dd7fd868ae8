"""The response object, what lists and deletions answer, and token counts by their names here."""

from typing import Any, Literal

from schemas.openai import Body
from schemas.openai.response_items import Item
from schemas.openai.responses import (
    PLAIN_TEXT,
    GivenToolChoice,
    ReasoningOptions,
    TextFormat,
)

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class FunctionTool(Body, frozen=True, kw_only=True):
    """A function that the model could call."""

    type: Literal["function"] = "function"
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextConfig(Body, frozen=True, kw_only=True):
    """The form of the text."""

    format: TextFormat = PLAIN_TEXT
    verbosity: str = "medium"


class InputDetails(Body, frozen=True, kw_only=True):
    """Of the input's tokens, those read from a cache; writing to it costs nothing here."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Body, frozen=True, kw_only=True):
    """Of the output's tokens, those the model thought with, where the engine tells tokens."""

    reasoning_tokens: int


class ResponseUsage(Body, frozen=True, kw_only=True):
    """Tokens that the response took."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Body, frozen=True, kw_only=True):
    """Why a response failed; ``code`` is one of those that the SDKs know."""

    code: str
    message: str


class IncompleteDetails(Body, frozen=True, kw_only=True):
    """Why a response is shorter than the model wanted it."""

    reason: Literal["max_output_tokens", "content_filter"]


class Response(Body, frozen=True, kw_only=True):
    """A response, whole or as far as it is; times in Unix seconds.

    store: whether it can be retrieved and continued, which may be less than was asked for.
    temperature, top_p: 1 also stands for the model's own, where nothing was asked for: clients of
    this API expect numbers.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status = "in_progress"
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str]
    model: str
    output: tuple[Item, ...] = ()
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: ReasoningOptions
    safety_identifier: str | None = None
    service_tier: Literal["default", "flex"] = "default"
    """``flex``: it was computed in idle slots."""
    store: bool = True
    temperature: float = 1.0
    text: TextConfig
    tool_choice: str | GivenToolChoice = "auto"
    tools: tuple[FunctionTool, ...] = ()
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: Literal["disabled"] = "disabled"
    """Whatever was asked for: a conversation that does not fit is refused, never cut."""
    usage: ResponseUsage | None = None
    user: str | None = None


class ItemList(Body, frozen=True, kw_only=True):
    """A page of items."""

    object: Literal["list"] = "list"
    data: tuple[Item, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokens(Body, frozen=True, kw_only=True):
    """How long a prompt is."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class ResponseDeleted(Body, frozen=True, kw_only=True):
    """What a deletion answers."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True
