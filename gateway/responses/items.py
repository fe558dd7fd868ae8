"""From the input that clients send to items: pure, and strict where silence would lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from gateway.responses.ids import input_id
from mesh.errors import InvalidRequest, Unsupported
from schemas.openai.response_items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputText,
    Item,
    MessageItem,
    OutputText,
    Part,
    ReasoningItem,
    ReasoningText,
    Refusal,
    SummaryText,
)
from schemas.openai.responses import GivenItem, GivenPart

T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """An item of an earlier response, named instead of repeated; ``where`` is its place."""

    id: str
    where: str


def to_items(given: str | tuple[GivenItem, ...], token: str) -> tuple[Item | Reference, ...]:
    """Return the items of an input; raises ``InvalidRequest`` or ``Unsupported`` with the field."""
    if isinstance(given, str):
        given = (GivenItem(role="user", content=given),)
    return tuple(_item(index, item, token) for index, item in enumerate(given))


def _item(index: int, given: GivenItem, token: str) -> Item | Reference:
    where = f"input[{index}]"
    match _kind(given):
        case "message":
            return _message(given, where, given.id or input_id("msg", token, index))
        case "function_call":
            return FunctionCallItem(
                id=given.id or input_id("fc", token, index),
                call_id=_required(given.call_id, f"{where}.call_id"),
                name=_required(given.name, f"{where}.name"),
                arguments=given.arguments or "",
                status="completed",
            )
        case "function_call_output":
            return FunctionOutputItem(
                id=given.id or input_id("fco", token, index),
                call_id=_required(given.call_id, f"{where}.call_id"),
                output=_output(given, f"{where}.output"),
                status="completed",
            )
        case "reasoning":
            return _reasoning(given, where, given.id or input_id("rs", token, index))
        case "item_reference":
            return Reference(_required(given.id, f"{where}.id"), where)
        case other:
            raise Unsupported(
                f"'{where}.type' is '{other}': this mesh takes messages, function calls, their "
                "outputs, reasoning and references to items.",
                param=f"{where}.type",
            )


def _kind(given: GivenItem) -> str:
    if given.type is not None:
        return given.type
    return "item_reference" if given.id and given.role is None else "message"


def _message(given: GivenItem, where: str, item_id: str) -> MessageItem:
    role, content = given.role, given.content
    if role is None:
        raise _missing(f"{where}.role")
    if content is None:
        raise _missing(f"{where}.content")
    text = OutputText if role == "assistant" else InputText
    return MessageItem(
        id=item_id,
        status="completed",
        role=role,
        content=(text(text=content),)
        if isinstance(content, str)
        else tuple(_parts(content, f"{where}.content", text)),
    )


def _parts(
    given: tuple[GivenPart, ...], where: str, text: type[InputText | OutputText]
) -> Iterator[Part]:
    for index, part in enumerate(given):
        if part.type == "refusal":
            yield Refusal(refusal=_required(part.refusal, f"{where}[{index}].refusal"))
        else:
            yield text(text=_text(part, f"{where}[{index}]"))


def _text(part: GivenPart, where: str) -> str:
    if part.type not in ("input_text", "output_text", "text"):
        raise Unsupported(
            f"'{where}.type' is '{part.type}': only text parts are supported.",
            param=f"{where}.type",
        )
    return _required(part.text, f"{where}.text")


def _output(given: GivenItem, where: str) -> str:
    if given.output is None or isinstance(given.output, str):
        return _required(given.output, where)
    return "".join(_text(part, f"{where}[{i}]") for i, part in enumerate(given.output))


def _reasoning(given: GivenItem, where: str, item_id: str) -> ReasoningItem:
    content = given.content if isinstance(given.content, tuple) else ()
    return ReasoningItem(
        id=item_id,
        summary=tuple(
            SummaryText(text=_required(part.text, f"{where}.summary[{i}].text"))
            for i, part in enumerate(given.summary or ())
        ),
        content=tuple(
            ReasoningText(text=_required(part.text, f"{where}.content[{i}].text"))
            for i, part in enumerate(content)
        ),
        encrypted_content=given.encrypted_content,
        status="completed",
    )


def _required(value: T | None, param: str) -> T:
    if value is None:
        raise _missing(param)
    return value


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"The field '{param}' is missing.", param=param)
