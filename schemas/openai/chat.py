"""``POST /v1/chat/completions``: the request, the whole answer and the chunks of a stream.

Field names, ranges and shapes: OpenAI API reference, "Create chat completion"; what open models'
servers add to it is in ``extensions``, and ``reasoning_content`` is theirs, too.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from schemas.inference import FinishReason, Role, ToolCall
from schemas.openai import Body
from schemas.openai.extensions import Count, Extensions, Share
from schemas.openai.metadata import Metadata

MAX_CHOICES = 16
MAX_STOPS = 4
MAX_ALTERNATIVES = 20
INT64_MAX = 2**63 - 1

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
StopText = Annotated[str, Meta(min_length=1, max_length=1024)]


class ContentPart(Body, frozen=True, kw_only=True):
    """A part of a message; only ``text`` and ``refusal`` parts carry text."""

    type: str
    text: str | None = None
    refusal: str | None = None


class Turn(Body, frozen=True, kw_only=True):
    """One message of the conversation as clients send it."""

    role: Role
    content: str | tuple[ContentPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None


class FunctionSpec(Body, frozen=True, kw_only=True, omit_defaults=True):
    """A function the model may call; ``parameters`` is a JSON schema."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body, frozen=True, kw_only=True):
    """A tool; functions are the only kind that a model running locally can be given."""

    type: Literal["function"]
    function: FunctionSpec


class NamedFunction(Body, frozen=True, kw_only=True):
    """The name in a forced choice of tool."""

    name: str


class NamedTool(Body, frozen=True, kw_only=True):
    """The tool the model has to call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The schema that the output has to satisfy."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Body, frozen=True, kw_only=True, omit_defaults=True):
    """The form of the output; a ``schema`` beside json_object is llama-server's way."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class StreamOptions(Body, frozen=True, kw_only=True):
    """What a stream carries beside the output."""

    include_usage: bool | None = None


class GenerationRequest(Extensions, frozen=True, kw_only=True):
    """What every body asks for that wants text, whatever the text goes on from."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: StopText | Annotated[tuple[StopText, ...], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-INT64_MAX - 1, le=INT64_MAX)] | None = None
    logit_bias: dict[str, Bias] | None = None
    response_format: ResponseFormat | None = None


class ChatRequest(GenerationRequest, frozen=True, kw_only=True):
    """The body of a chat completion request."""

    messages: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_ALTERNATIVES)] | None = None
    tools: Annotated[tuple[Tool, ...], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    modalities: tuple[str, ...] | None = None
    service_tier: str | None = None
    """``flex`` is for work that nobody waits for; all others are the same here."""
    store: bool | None = None
    metadata: Metadata | None = None
    """Kept with an answer that is stored, and of no use to any other."""


class PromptDetails(Body, frozen=True, kw_only=True):
    """Of the prompt's tokens, how many came from a cache."""

    cached_tokens: int


class Usage(Body, frozen=True, kw_only=True):
    """Tokens that the request took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Logprobs(Body, frozen=True, kw_only=True):
    """Log-probabilities of the tokens of a choice."""

    content: list[dict[str, Any]]
    refusal: None = None


class CalledFunction(Body, frozen=True, kw_only=True):
    """The function the model calls, its arguments as JSON text."""

    name: str
    arguments: str


class CalledTool(Body, frozen=True, kw_only=True):
    """A tool call of a whole answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Body, frozen=True, kw_only=True):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: tuple[()] = ()
    """Citations of hosted web search, which does not exist here; clients read the list."""
    reasoning_content: str | UnsetType = UNSET
    tool_calls: tuple[CalledTool, ...] | UnsetType = UNSET


class Choice(Body, frozen=True, kw_only=True):
    """One of the ``n`` answers."""

    index: int
    message: AssistantMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Body, frozen=True, kw_only=True):
    """The whole answer; ``created`` is in Unix seconds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage


class FunctionPiece(Body, frozen=True, kw_only=True):
    """The name of the function once, then pieces of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallPiece(Body, frozen=True, kw_only=True):
    """A piece of a tool call; ``id`` and ``type`` come once, since clients concatenate repeats."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionPiece


class ChunkDelta(Body, frozen=True, kw_only=True):
    """What a chunk adds to a choice."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: tuple[ToolCallPiece, ...] | UnsetType = UNSET


class ChunkChoice(Body, frozen=True, kw_only=True):
    """One choice inside a chunk."""

    index: int
    delta: ChunkDelta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Body, frozen=True, kw_only=True):
    """One event of a stream; ``choices`` is empty only in the one that carries ``usage``.

    This is its description: ``gateway.sse`` writes the same bytes without building one.
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | UnsetType | None = UNSET
