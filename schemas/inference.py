"""An inference request as it travels on the bus, and its answer.

The same ``InferRequest`` is what a plain NATS client sends to ``mesh.v1.infer`` and what every
HTTP endpoint translates into. Its fields take the names of the OpenAI chat body where that has one.
"""

from enum import StrEnum
from typing import Any, Literal

from schemas.fleet import Tier
from schemas.wire import Message

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Policy(StrEnum):
    """Where a request may be computed."""

    EDGE_ONLY = "edge-only"
    EDGE_FIRST = "edge-first"
    CLOUD_ONLY = "cloud-only"


class Task(StrEnum):
    """What is to be computed."""

    GENERATE = "generate"
    """Text that goes on from ``messages`` or ``prompt``."""
    EMBED = "embed"
    """One vector per entry of ``inputs``."""
    RERANK = "rerank"
    """One score per entry of ``inputs``: how well it answers ``query``."""
    COUNT = "count"
    """How many tokens the model makes of ``messages`` or ``prompt``; told as usage alone."""


class Urgency(StrEnum):
    """Whether somebody waits for the answer."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"
    """Computed in what interactive requests leave, and interrupted when they need it."""


class Ability(StrEnum):
    """What a request needs of an engine beyond plain chat."""

    TOOLS = "tools"
    STRUCTURED_OUTPUT = "structured_output"
    LOGPROBS = "logprobs"
    PROMPT_LOGPROBS = "prompt_logprobs"
    """Tells how likely the tokens of a prompt were, too."""
    LOGIT_BIAS = "logit_bias"
    CHOICES = "choices"
    PROMPT = "prompt"
    """Goes on from a text as it is, without a chat template."""
    SUFFIX = "suffix"
    """Fills the gap between a text and what comes after it."""
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    COUNT = "count_tokens"


class FunctionCall(Message, frozen=True, kw_only=True):
    """A call the model makes: the function's name and its arguments as JSON text."""

    name: str
    arguments: str = ""


class ToolCall(Message, frozen=True, kw_only=True):
    """One tool call inside an assistant message."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(Message, frozen=True, kw_only=True):
    """One turn of a conversation; content parts are already flattened to text."""

    role: Role
    content: str = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Sampling(Message, frozen=True, kw_only=True):
    """How the next token is drawn; ``None`` means the engine's default.

    temperature: 0 is greedy. top_k: 0 keeps the whole vocabulary. seed: int64, may be negative.
    repeat_last_n: tokens that the penalties look back, -1 for all. ignore_eos: go on past the
    model's own end. min_tokens: tokens before which it may not end. stop_token_ids: tokens that end
    the output and are not part of it.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()


class InferRequest(Message, frozen=True, kw_only=True):
    """One request: a completion of a conversation, unless ``task`` says otherwise.

    prompt: text or token ids to go on from, instead of messages and their template. suffix: text
    that comes after the answer to a prompt, which then fills the gap. max_tokens: tokens to
    generate at most. deadline_ms: milliseconds left for the whole request. stop: texts that end the
    output and are not part of it. logprobs: how many alternatives to report per token
    (0: only the chosen one), ``None`` for none; prompt_logprobs: whether to report those of the
    prompt's tokens, too. The JSON values ``tools`` and ``tool_choice`` have the form of the OpenAI
    chat body, and so has ``response_format``, which also takes
    ``{"type": "regex", "pattern": …}``, ``{"type": "choice", "choices": […]}`` and
    ``{"type": "grammar", "grammar": …}`` (Lark or GBNF). template: variables for the model's chat
    template, such as ``enable_thinking``. cache_prompt: whether a warm prefix may be used and kept.
    inputs: texts or token ids to embed or to rank against ``query``; dimensions: length of the
    vectors, ``None`` for the model's own. cloud_attempts: how many attempts may begin in the cloud,
    after which the request fails rather than cost more; ``None`` for as many as it takes.
    traceparent, tracestate: the trace that the request belongs to (W3C trace context).
    """

    model: str
    messages: tuple[ChatMessage, ...] = ()
    task: Task = Task.GENERATE
    prompt: str | tuple[int, ...] | None = None
    suffix: str = ""
    inputs: tuple[str | tuple[int, ...], ...] = ()
    query: str = ""
    dimensions: int | None = None
    id: str = ""
    tenant: str = "default"
    policy: Policy = Policy.EDGE_FIRST
    urgency: Urgency = Urgency.INTERACTIVE
    deadline_ms: int | None = None
    stream: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    template: dict[str, Any] | None = None
    cache_prompt: bool = True
    cloud_attempts: int | None = None
    traceparent: str = ""
    tracestate: str = ""


class Dispatch(Message, frozen=True, kw_only=True):
    """One attempt handed to one worker.

    attempt: unique per try, the key for cancel. router: the sender's incarnation, whose leases keep
    the attempt alive. remaining_ms: time left when sent. emitted: token ids already shown to the
    client, to be replayed when an attempt is resumed. incarnation: of the worker that is meant,
    because two may go by one name (empty: whoever listens). traceparent: of this attempt.
    """

    attempt: str
    router: str
    remaining_ms: int
    request: InferRequest
    emitted: tuple[int, ...] = ()
    incarnation: str = ""
    traceparent: str = ""


class Cancel(Message, frozen=True, kw_only=True):
    """Stop an attempt; sent to the worker that runs it."""

    attempt: str


class ModelOrder(Message, frozen=True, kw_only=True):
    """Load or unload a model; sent to the worker that has it."""

    model: str


class Lease(Message, frozen=True, kw_only=True):
    """The router is alive: attempts it dispatched to this worker stay wanted."""

    router: str


class CancelRequest(Message, frozen=True, kw_only=True):
    """Stop a request of a plain NATS client; sent to ``mesh.v1.cancel``."""

    id: str


class Usage(Message, frozen=True, kw_only=True):
    """Tokens counted by the engine (or told by the upstream); cached ones were not computed."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Choice(Message, frozen=True, kw_only=True):
    """One of several answers to the same request; ``logprobs`` as in ``Completion``."""

    text: str
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    logprobs: list[dict[str, Any]] | None = None


class Completion(Message, frozen=True, kw_only=True):
    """The whole answer to a request that did not ask for a stream.

    logprobs, prompt_logprobs: OpenAI's items, one a token, as in frames; there if the request asked
    for them.
    others: the choices after the first, of a request with n > 1; usage is that of all.
    """

    id: str
    model: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    tier: Tier
    worker: str
    fallback: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    vectors: tuple[bytes, ...] = ()
    """One per input: little-endian float32, in JSON as base64."""
    scores: tuple[float, ...] = ()
    """One per input of a rerank, in their order."""
    logprobs: list[dict[str, Any]] | None = None
    prompt_logprobs: list[dict[str, Any]] | None = None
    others: tuple[Choice, ...] = ()
