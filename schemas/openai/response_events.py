"""The events of a streamed response; the type is both in the data and on the ``event:`` line.

Sequence: ``response.created``, ``.in_progress``, then per item ``output_item.added``, its pieces
and ``output_item.done``, at last one of ``response.completed``, ``.incomplete``, ``.cancelled``,
``.failed``.
"""

from typing import Any

from schemas.openai import Body
from schemas.openai.response_items import Item, OutputText, ReasoningText
from schemas.openai.response_object import Response


class Event(Body, frozen=True, kw_only=True, tag_field="type"):
    """Something happened; ``sequence_number`` counts from 0 within the stream."""

    sequence_number: int


class Created(Event, frozen=True, kw_only=True, tag="response.created"):
    """The response exists."""

    response: Response


class InProgress(Event, frozen=True, kw_only=True, tag="response.in_progress"):
    """It is being computed."""

    response: Response


class Completed(Event, frozen=True, kw_only=True, tag="response.completed"):
    """It is whole."""

    response: Response


class Incomplete(Event, frozen=True, kw_only=True, tag="response.incomplete"):
    """It ended before the model was done."""

    response: Response


class Cancelled(Event, frozen=True, kw_only=True, tag="response.cancelled"):
    """Somebody ended it; nothing follows. Clients that do not know it ignore it."""

    response: Response


class FailedEvent(Event, frozen=True, kw_only=True, tag="response.failed"):
    """It was lost; nothing follows."""

    response: Response


class ErrorEvent(Event, frozen=True, kw_only=True, tag="error"):
    """What went wrong, in the words of the error envelope."""

    code: str | None
    message: str
    param: str | None


class ItemAdded(Event, frozen=True, kw_only=True, tag="response.output_item.added"):
    """An item begins, empty."""

    output_index: int
    item: Item


class ItemDone(Event, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item is whole, or as whole as it gets."""

    output_index: int
    item: Item


class PieceEvent(Event, frozen=True, kw_only=True):
    """Something about a part of an item."""

    item_id: str
    output_index: int


class PartAdded(PieceEvent, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part of an item begins, empty."""

    content_index: int = 0
    part: OutputText | ReasoningText


class PartDone(PieceEvent, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part is whole."""

    content_index: int = 0
    part: OutputText | ReasoningText


class TextDelta(PieceEvent, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More text."""

    content_index: int = 0
    delta: str
    logprobs: list[dict[str, Any]]


class TextDone(PieceEvent, frozen=True, kw_only=True, tag="response.output_text.done"):
    """All of the text."""

    content_index: int = 0
    text: str
    logprobs: list[dict[str, Any]]


class ReasoningDelta(PieceEvent, frozen=True, kw_only=True, tag="response.reasoning_text.delta"):
    """More of what the model thinks."""

    content_index: int = 0
    delta: str


class ReasoningDone(PieceEvent, frozen=True, kw_only=True, tag="response.reasoning_text.done"):
    """All of what it thought."""

    content_index: int = 0
    text: str


class ArgumentsDelta(
    PieceEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    """More of the arguments of a call."""

    delta: str


class ArgumentsDone(
    PieceEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    """All of the arguments."""

    name: str
    arguments: str


ResponseEvent = (
    Created
    | InProgress
    | Completed
    | Incomplete
    | Cancelled
    | FailedEvent
    | ErrorEvent
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | ArgumentsDelta
    | ArgumentsDone
)
