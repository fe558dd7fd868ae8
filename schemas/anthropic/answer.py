"""The message that answers, whole or as the events of a stream; tags are written as ``type``.

Fields that are always ``None`` belong to what does not exist here; clients in strictly typed
languages want them all the same.
"""

from typing import Any, Literal

from schemas.openai import Body

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


class TextBlock(Body, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """What the model said."""

    text: str = ""
    citations: None = None


class ThinkingBlock(Body, frozen=True, kw_only=True, tag_field="type", tag="thinking"):
    """What the model thought; there is nothing to prove to anybody, so nothing is signed."""

    thinking: str = ""
    signature: str = ""


class Direct(Body, frozen=True, kw_only=True, tag_field="type", tag="direct"):
    """The model itself calls, and no program that it wrote."""


class ToolUseBlock(Body, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """A call the model makes."""

    id: str
    name: str
    input: dict[str, Any]
    caller: Direct = Direct()


Block = TextBlock | ThinkingBlock | ToolUseBlock


class FinalUsage(Body, frozen=True, kw_only=True):
    """Tokens that the request took; those read from a cache are not among ``input_tokens``."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    output_tokens_details: None = None
    server_tool_use: None = None


class Usage(FinalUsage, frozen=True, kw_only=True):
    """The same as part of a message."""

    cache_creation: None = None
    inference_geo: None = None
    service_tier: None = None


class Message(Body, frozen=True, kw_only=True):
    """The whole answer; without content and an end it opens a stream."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: tuple[Block, ...] = ()
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: None = None
    container: None = None
    usage: Usage = Usage()


class TokenCount(Body, frozen=True, kw_only=True):
    """The tokens of a prompt."""

    input_tokens: int


class MessageStart(Body, frozen=True, kw_only=True, tag_field="type", tag="message_start"):
    """The first event."""

    message: Message


class Ping(Body, frozen=True, kw_only=True, tag_field="type", tag="ping"):
    """An event without meaning."""


class BlockStart(Body, frozen=True, kw_only=True, tag_field="type", tag="content_block_start"):
    """A block begins, still empty."""

    index: int
    content_block: Block


class TextDelta(Body, frozen=True, kw_only=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Body, frozen=True, kw_only=True, tag_field="type", tag="thinking_delta"):
    """More of a thought."""

    thinking: str


class InputDelta(Body, frozen=True, kw_only=True, tag_field="type", tag="input_json_delta"):
    """More of a call's input, as a piece of JSON text."""

    partial_json: str


class BlockDelta(Body, frozen=True, kw_only=True, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: TextDelta | ThinkingDelta | InputDelta


class BlockStop(Body, frozen=True, kw_only=True, tag_field="type", tag="content_block_stop"):
    """A block is complete."""

    index: int


class End(Body, frozen=True, kw_only=True):
    """How the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None
    stop_details: None = None
    container: None = None


class MessageDelta(Body, frozen=True, kw_only=True, tag_field="type", tag="message_delta"):
    """The message has ended; the figures are those of all of it."""

    delta: End
    usage: FinalUsage


class MessageStop(Body, frozen=True, kw_only=True, tag_field="type", tag="message_stop"):
    """The last event."""


Event = MessageStart | Ping | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
