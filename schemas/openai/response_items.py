"""The items of a response: what was said, thought, called and returned, in order.

One form serves the answer, the stored conversation and ``GET …/input_items``; what clients send is
looser, and is in ``responses``. Shapes: OpenAI API reference, "The response object".
"""

from typing import Any, Literal

from schemas.openai import Body

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputText(Body, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """Text that the model is given."""

    text: str


class OutputText(Body, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """Text that the model wrote; annotations cite hosted tools, which do not exist here."""

    text: str
    annotations: tuple[()] = ()
    logprobs: list[dict[str, Any]] = []  # noqa: RUF012 - msgspec copies it for every struct


class Refusal(Body, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """Words with which a model declined."""

    refusal: str


class ReasoningText(Body, frozen=True, kw_only=True, tag_field="type", tag="reasoning_text"):
    """What the model thought, in its own words."""

    text: str


class SummaryText(Body, frozen=True, kw_only=True, tag_field="type", tag="summary_text"):
    """A summary of reasoning; some other server's, for none is made here."""

    text: str


class MessageItem(Body, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """One turn of a conversation."""

    id: str
    status: ItemStatus
    role: Literal["user", "assistant", "system", "developer"]
    content: tuple[InputText | OutputText | Refusal, ...]


class FunctionCallItem(Body, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model makes; ``arguments`` is JSON text, ``call_id`` ties the result on."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class FunctionOutputItem(
    Body, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"
):
    """What a called function returned."""

    id: str
    call_id: str
    output: str
    status: ItemStatus


class ReasoningItem(Body, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thought before it spoke."""

    id: str
    summary: tuple[SummaryText, ...] = ()
    content: tuple[ReasoningText, ...] = ()
    encrypted_content: str | None = None
    status: ItemStatus


Part = InputText | OutputText | Refusal
Item = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem
