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


class Ability(StrEnum):
    """What a request needs of an engine beyond plain chat."""

    TOOLS = "tools"
    STRUCTURED_OUTPUT = "structured_output"
    LOGPROBS = "logprobs"
    LOGIT_BIAS = "logit_bias"
    CHOICES = "choices"


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


class InferRequest(Message, frozen=True, kw_only=True):
    """One request for a completion.

    max_tokens: tokens to generate at most. deadline_ms: milliseconds left for the whole request.
    stop: texts that end the output and are not part of it. logprobs: how many alternatives to
    report per token (0: only the chosen one), ``None`` for none. The JSON values ``tools``,
    ``tool_choice`` and ``response_format`` have the form of the OpenAI chat body.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    id: str = ""
    tenant: str = "default"
    policy: Policy = Policy.EDGE_FIRST
    deadline_ms: int | None = None
    stream: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    n: int = 1
    logprobs: int | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None


class Dispatch(Message, frozen=True, kw_only=True):
    """One attempt handed to one worker.

    attempt: unique per try, the key for cancel. router: the sender's incarnation, whose leases keep
    the attempt alive. remaining_ms: time left when sent. emitted: token ids already shown to the
    client, to be replayed when an attempt is resumed. incarnation: of the worker that is meant,
    because two may go by one name (empty: whoever listens).
    """

    attempt: str
    router: str
    remaining_ms: int
    request: InferRequest
    emitted: tuple[int, ...] = ()
    incarnation: str = ""


class Cancel(Message, frozen=True, kw_only=True):
    """Stop an attempt; sent to the worker that runs it."""

    attempt: str


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


class Completion(Message, frozen=True, kw_only=True):
    """The whole answer to a request that did not ask for a stream."""

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
