"""The chat bodies exchanged with an upstream: exact in what we send, lenient in what we take.

Imitations of the OpenAI API leave out fields, send ``null`` for them and add their own. Only what
is used is declared here; a stream's chunks and a whole answer differ in ``delta`` and ``message``.
"""

from typing import Annotated, Any, Literal

import msgspec

from schemas.wire import Message

Count = Annotated[int, msgspec.Meta(ge=0)]


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """Name and JSON arguments of a call made earlier in the conversation."""

    name: str
    arguments: str


class EarlierCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call made earlier in the conversation."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class Turn(Message, frozen=True, kw_only=True):
    """One message; ``content`` has no default, since upstreams want it even when empty."""

    role: str
    content: str | None
    name: str | None = None
    tool_calls: tuple[EarlierCall, ...] = ()
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for the token counts at the end of a stream."""

    include_usage: bool = True


class ChatBody(Message, frozen=True, kw_only=True):
    """What is posted to ``chat/completions``; ``None`` leaves a field out."""

    model: str
    messages: tuple[Turn, ...]
    stream: bool
    stream_options: StreamOptions
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    """llama-server, LM Studio, Ollama."""
    repetition_penalty: float | None = None
    """vLLM, SGLang: the same by another name."""


class FunctionPart(Message, frozen=True, kw_only=True):
    """A piece of a tool call's function."""

    name: str | None = None
    arguments: str | None = None


class ToolCallPart(Message, frozen=True, kw_only=True):
    """A piece of a tool call; some upstreams leave the index out or repeat id and name."""

    index: Count | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Content(Message, frozen=True, kw_only=True):
    """New output of a choice, or all of it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The same as ``reasoning_content`` by the name that OpenRouter and Ollama use."""
    tool_calls: tuple[ToolCallPart, ...] | None = None


class Logprobs(Message, frozen=True, kw_only=True):
    """Log-probabilities of the tokens in this chunk."""

    content: list[dict[str, Any]] | None = None


class Choice(Message, frozen=True, kw_only=True):
    """One choice of a chunk (``delta``) or of a whole answer (``message``)."""

    index: Count = 0
    delta: Content | None = None
    message: Content | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class PromptDetails(Message, frozen=True, kw_only=True):
    """How much of the prompt was not computed."""

    cached_tokens: Count | None = None


class ToldUsage(Message, frozen=True, kw_only=True):
    """Token counts as the upstream tells them."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0
    prompt_tokens_details: PromptDetails | None = None


class Chunk(Message, frozen=True, kw_only=True):
    """One event of a stream, or a whole answer."""

    choices: tuple[Choice, ...] | None = None
    usage: ToldUsage | None = None
    error: Any = None


class EmbeddingBody(Message, frozen=True, kw_only=True):
    """What is posted to ``embeddings``."""

    model: str
    input: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    encoding_format: Literal["base64"] | None = None


class EmbeddingRow(Message, frozen=True, kw_only=True):
    """One vector: base64 of little-endian float32, or numbers."""

    index: Count = 0
    embedding: bytes | tuple[float, ...]


class EmbeddingAnswer(Message, frozen=True, kw_only=True):
    """The answer to ``embeddings``."""

    data: tuple[EmbeddingRow, ...]
    usage: ToldUsage | None = None


class RerankBody(Message, frozen=True, kw_only=True):
    """What is posted to ``rerank``."""

    model: str
    query: str
    documents: tuple[str, ...]


class RankedRow(Message, frozen=True, kw_only=True):
    """One document's score."""

    index: Count
    relevance_score: float


class RerankAnswer(Message, frozen=True, kw_only=True):
    """The answer to ``rerank``, in any order."""

    results: tuple[RankedRow, ...]
    usage: ToldUsage | None = None


class Problem(Message, frozen=True, kw_only=True):
    """What an upstream says about a request it refused."""

    message: str | None = None
    param: str | None = None
    code: str | int | None = None


class ProblemBody(Message, frozen=True, kw_only=True):
    """The OpenAI error envelope."""

    error: Problem


class ListedModel(Message, frozen=True, kw_only=True):
    """One entry of the list of models."""

    id: str


class ModelList(Message, frozen=True, kw_only=True):
    """The answer to ``GET models``."""

    data: tuple[ListedModel, ...]
