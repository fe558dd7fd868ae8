"""From Anthropic's turns of blocks to turns of text, calls and results. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from gateway.nesting import check_depth
from mesh.errors import InvalidRequest, MeshError, Unsupported
from schemas.anthropic.messages import (
    Block,
    Conversation,
    Document,
    HiddenThinking,
    Image,
    SystemText,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from schemas.inference import ChatMessage, FunctionCall, ToolCall


def to_messages(body: Conversation) -> tuple[ChatMessage, ...]:
    """Return the conversation; raises ``InvalidRequest`` or ``Unsupported`` naming the block."""
    return (*_system(body.system), *_turns(body.messages))


def _system(system: str | Sequence[SystemText] | None) -> Iterator[ChatMessage]:
    text = system if isinstance(system, str) else "".join(block.text for block in system or ())
    if text:
        yield ChatMessage(role="system", content=text)


def _turns(turns: Sequence[Turn]) -> Iterator[ChatMessage]:
    for index, turn in enumerate(turns):
        where = f"messages[{index}].content"
        if isinstance(turn.content, str):
            yield ChatMessage(role=turn.role, content=turn.content)
        elif turn.role == "assistant":
            yield _said(turn.content, where)
        else:
            yield from _heard(turn, turn.content, where)


def _said(blocks: Sequence[Block], where: str) -> ChatMessage:
    """Return what the model said and called; what it thought is not repeated to it."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for number, block in enumerate(blocks):
        match block:
            case Text(text=text):
                texts.append(text)
            case ToolUse():
                calls.append(_call(block, f"{where}[{number}].input"))
            case Thinking() | HiddenThinking():
                pass
            case _:
                raise _misplaced(block, f"{where}[{number}]")
    return ChatMessage(role="assistant", content="".join(texts), tool_calls=tuple(calls))


def _call(block: ToolUse, where: str) -> ToolCall:
    check_depth(block.input, where)
    arguments = msgspec.json.encode(block.input).decode()
    return ToolCall(id=block.id, function=FunctionCall(name=block.name, arguments=arguments))


def _heard(turn: Turn, blocks: Sequence[Block], where: str) -> Iterator[ChatMessage]:
    """Yield results as turns of their own, and the text between them, in the order given."""
    texts: list[str] = []
    for number, block in enumerate(blocks):
        match block:
            case Text(text=text):
                texts.append(text)
            case ToolResult() if turn.role == "user":
                yield from _spoken(turn, texts)
                texts = []
                yield _result(block, f"{where}[{number}].content")
            case _:
                raise _misplaced(block, f"{where}[{number}]")
    yield from _spoken(turn, texts)


def _spoken(turn: Turn, texts: list[str]) -> Iterator[ChatMessage]:
    if texts:
        yield ChatMessage(role=turn.role, content="".join(texts))


def _result(block: ToolResult, where: str) -> ChatMessage:
    content = block.content or ""
    if not isinstance(content, str):
        for number, part in enumerate(content):
            if not isinstance(part, Text):
                raise _misplaced(part, f"{where}[{number}]")
        content = "".join(part.text for part in content if isinstance(part, Text))
    # A turn has no flag for that, and the model must know.
    content = f"Error: {content}" if block.is_error else content
    return ChatMessage(role="tool", content=content, tool_call_id=block.tool_use_id)


def _misplaced(block: Block, where: str) -> MeshError:
    kind = str(block.__struct_config__.tag)
    if isinstance(block, Image | Document):
        return Unsupported(f"'{where}' is not text ({kind}): models here read text.", param=where)
    return InvalidRequest(f"'{where}' ({kind}) is not possible in this role.", param=where)
