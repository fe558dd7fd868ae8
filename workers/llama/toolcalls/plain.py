"""Tools told as text, for chat templates that do not show them."""

import json
from collections.abc import Sequence
from typing import Any

from workers.llama.toolcalls.family import Family, Parts, Slot, text_of

INTRODUCTION = (
    "You can call these functions:\n{tools}\n\n"
    "To call one, answer with nothing but the call, in exactly this form:\n{form}"
)
ARGUMENTS = "{<the parameters as JSON>}"
_FILLED = {Slot.NAME: "<name of the function>", Slot.ID: "000000000", Slot.BLANKS: ""}

Turn = dict[str, Any]


def introduction(tools: Sequence[dict[str, Any]], family: Family) -> Turn:
    """Return a system turn that says which tools there are and how to call one."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    form = _form(family.first[0]) + ARGUMENTS + _form(family.closing) + _form(family.end)
    return {"role": "system", "content": INTRODUCTION.format(tools=lines, form=form)}


def spoken(turn: Turn) -> Turn:
    """Return a turn with its calls and results as text."""
    if turn["role"] == "tool":
        return {"role": "user", "content": f"The function returned:\n{turn['content']}"}
    if calls := turn.get("tool_calls"):
        lines = [turn["content"]] if turn["content"] else []
        lines += [_call(call["function"]) for call in calls]
        return {"role": turn["role"], "content": "\n".join(lines)}
    return turn


def _form(parts: Parts) -> str:
    return "".join(_FILLED[part] if isinstance(part, Slot) else text_of(part) for part in parts)


def _call(function: dict[str, Any]) -> str:
    call = {"name": function["name"], "arguments": function["arguments"]}
    return json.dumps(call, ensure_ascii=False)
