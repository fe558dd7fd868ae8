"""From the items of a conversation to the turns that a model is given. Pure.

What the model said comes back as the same turns, byte for byte, that its worker made the answer
from, so that the worker's warm prefix fits: the text unchanged, and an answer with calls as one
turn. What it thought is left out, as chat templates do with earlier thoughts.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from mesh.errors import InvalidRequest
from schemas.inference import ChatMessage, FunctionCall, ToolCall
from schemas.openai.response_items import (
    FunctionCallItem,
    FunctionOutputItem,
    Item,
    MessageItem,
    Part,
    Refusal,
)


def to_messages(instructions: str | None, items: Iterable[Item]) -> tuple[ChatMessage, ...]:
    """Return the turns of a conversation; raises ``InvalidRequest`` for a result without a call."""
    turns: list[ChatMessage] = []
    called: set[str] = set()
    if instructions:
        turns.append(ChatMessage(role="system", content=instructions))
    for item in items:
        if isinstance(item, MessageItem):
            turns.append(ChatMessage(role=item.role, content="".join(map(_text, item.content))))
        elif isinstance(item, FunctionCallItem):
            called.add(item.call_id)
            _add_call(turns, item)
        elif isinstance(item, FunctionOutputItem):
            _check_called(item, called)
            turns.append(ChatMessage(role="tool", content=item.output, tool_call_id=item.call_id))
    return tuple(turns)


def _text(part: Part) -> str:
    return part.refusal if isinstance(part, Refusal) else part.text


def _add_call(turns: list[ChatMessage], item: FunctionCallItem) -> None:
    """Put a call into the turn of the assistant that it belongs to, or into one of its own."""
    call = ToolCall(
        id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments)
    )
    if turns and turns[-1].role == "assistant":
        turns[-1] = replace(turns[-1], tool_calls=(*turns[-1].tool_calls, call))
    else:
        turns.append(ChatMessage(role="assistant", tool_calls=(call,)))


def _check_called(item: FunctionOutputItem, called: set[str]) -> None:
    if item.call_id not in called:
        raise InvalidRequest(
            f"No function call of this conversation has the call_id '{item.call_id}'.",
            param="input",
        )
