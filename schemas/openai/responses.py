"""``POST /v1/responses``: the request as clients send it.

Field names and ranges: OpenAI API reference, "Create a model response". Items and parts are read
leniently here, with every field of every kind in one struct, because clients leave the ``type`` of
messages out; ``gateway/responses/items.py`` then says what is wrong with which.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta

from schemas.openai import Body, ModelBody
from schemas.openai.chat import MAX_ALTERNATIVES, Penalty
from schemas.openai.extensions import Count, Share
from schemas.openai.metadata import Metadata

MAX_TOOLS = 128


class GivenPart(Body, frozen=True, kw_only=True):
    """A part of a message, of reasoning or of a function's result."""

    type: str
    text: str | None = None
    refusal: str | None = None


class GivenItem(Body, frozen=True, kw_only=True):
    """An item of any kind; one without a type is a message, or a reference if it has an id only."""

    type: str | None = None
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | tuple[GivenPart, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | tuple[GivenPart, ...] | None = None
    summary: tuple[GivenPart, ...] | None = None
    encrypted_content: str | None = None


class GivenTool(Body, frozen=True, kw_only=True):
    """A tool; functions are the only kind that is not hosted by OpenAI."""

    type: str
    name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class AllowedTool(Body, frozen=True, kw_only=True, omit_defaults=True):
    """One tool of a choice among some."""

    type: str
    name: str | None = None


class GivenToolChoice(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A named function, or a choice among some of the tools."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: tuple[AllowedTool, ...] | None = None


class TextFormat(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The form of the output text."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


PLAIN_TEXT = TextFormat(type="text")


class TextOptions(Body, frozen=True, kw_only=True):
    """How the text is to be."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningOptions(Body, frozen=True, kw_only=True):
    """How much to think; summaries are not made here."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(ModelBody, frozen=True, kw_only=True):
    """The body of a request for a response."""

    input: str | tuple[GivenItem, ...] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_ALTERNATIVES)] | None = None
    include: tuple[str, ...] | None = None
    tools: Annotated[tuple[GivenTool, ...], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | GivenToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    """Read to be checked: a conversation that does not fit is refused either way."""
    service_tier: str | None = None
    conversation: Any = None
    prompt: Any = None
