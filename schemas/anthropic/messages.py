"""``POST /v1/messages`` and ``/v1/messages/count_tokens``: what clients send."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from schemas.openai import Body, ModelBody
from schemas.openai.extensions import Count, Share

MAX_STOPS = 16
MAX_TOOLS = 128

StopText = Annotated[str, Meta(min_length=1, max_length=1024)]


class Text(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class SystemText(Body, frozen=True, kw_only=True):
    """A piece of the system prompt; where only one kind may stand, a tag could be left out."""

    type: Literal["text"]
    text: str


class Image(Body, frozen=True, kw_only=True, tag_field="type", tag="image"):
    """A picture, which is refused wherever it is: nothing is ever fetched for one."""


class Document(Body, frozen=True, kw_only=True, tag_field="type", tag="document"):
    """A file, which is refused."""


class ToolUse(Body, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """A call that the model made earlier."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResult(Body, frozen=True, kw_only=True, tag_field="type", tag="tool_result"):
    """What a call gave."""

    tool_use_id: str
    content: str | tuple[Text | Image | Document, ...] | None = None
    is_error: bool | None = None


class Thinking(Body, frozen=True, kw_only=True, tag_field="type", tag="thinking"):
    """What the model thought earlier: models do not read their own thoughts again."""


class HiddenThinking(Body, frozen=True, kw_only=True, tag_field="type", tag="redacted_thinking"):
    """The same, encrypted by somebody else."""


Block = Text | Image | Document | ToolUse | ToolResult | Thinking | HiddenThinking


class Turn(Body, frozen=True, kw_only=True):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | tuple[Block, ...]


class Tool(Body, frozen=True, kw_only=True):
    """A function the model may call; with a ``type`` it may be one of Anthropic's own."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    strict: bool | None = None


class ToolChoice(Body, frozen=True, kw_only=True):
    """Whether the model may or must call tools; ``name`` goes with the type ``tool``."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(Body, frozen=True, kw_only=True):
    """Whether the model is to think first; how much is up to the model."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]


class OutputFormat(Body, frozen=True, kw_only=True):
    """The JSON schema that the output has to satisfy."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Body, frozen=True, kw_only=True):
    """The form of the output."""

    format: OutputFormat | None = None


class Conversation(ModelBody, frozen=True, kw_only=True):
    """What a prompt is made of; by itself the body of a request to count its tokens."""

    messages: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    system: str | tuple[SystemText, ...] | None = None
    tools: Annotated[tuple[Tool, ...], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None


class MessagesRequest(Conversation, frozen=True, kw_only=True):
    """The body of a request for the next message."""

    max_tokens: Annotated[int, Meta(ge=1, lt=2**31)]
    stream: bool | None = None
    stop_sequences: Annotated[tuple[StopText, ...], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    output_config: OutputConfig | None = None
