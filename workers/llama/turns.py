"""Conversations in the forms that chat templates accept."""

import hashlib
import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from schemas.inference import ChatMessage

SHORT_ID = 9
"""Length of the tool call ids that Mistral's templates insist on."""

Turn = dict[str, Any]


def turn_of(message: ChatMessage) -> Turn:
    """Return the message as templates know it; ``developer`` is a newer name for ``system``."""
    turn: Turn = msgspec.to_builtins(message)
    turn["content"] = message.content
    if message.role == "developer":
        turn["role"] = "system"
    if message.tool_calls:
        turn["tool_calls"] = [_tool_call(call) for call in turn["tool_calls"]]
    return turn


def _tool_call(call: Turn) -> Turn:
    """Give a template the arguments as an object; text that is no JSON stays text."""
    function = call["function"]
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except (ValueError, RecursionError):
        arguments = function["arguments"]
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def variants(turns: list[Turn]) -> Iterator[list[Turn]]:
    """Yield the conversation as it is, then in forms that more templates accept.

    Leading system texts become one in any case: many templates silently drop the second.
    """
    forms = list(_forms(turns))
    yield from forms
    if any("tool_call_id" in turn or "tool_calls" in turn for turn in turns):
        yield from ([_with_short_ids(turn) for turn in form] for form in forms)


def _forms(turns: list[Turn]) -> Iterator[list[Turn]]:
    head = list(takewhile(_is_system, turns))
    tail = turns[len(head) :]
    yield [*_merge(head), *tail]
    merged = _merge(sorted(turns, key=_is_system, reverse=True))
    yield merged
    yield _merge([{**turn, "role": "user"} if _is_system(turn) else turn for turn in merged])


def _with_short_ids(turn: Turn) -> Turn:
    """Return a turn with ids of tool calls as short as Mistral's own."""
    result = dict(turn)
    if turn.get("tool_call_id"):
        result["tool_call_id"] = _short(turn["tool_call_id"])
    if turn.get("tool_calls"):
        result["tool_calls"] = [{**call, "id": _short(call["id"])} for call in turn["tool_calls"]]
    return result


def _short(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()[:SHORT_ID]


def _merge(turns: list[Turn]) -> list[Turn]:
    """Join neighbouring plain turns of one role."""
    result: list[Turn] = []
    for turn in turns:
        last = result[-1] if result else None
        if last and last["role"] == turn["role"] and _is_plain(last) and _is_plain(turn):
            result[-1] = {**last, "content": f"{last['content']}\n\n{turn['content']}"}
        else:
            result.append(turn)
    return result


def _is_system(turn: Turn) -> bool:
    return bool(turn["role"] == "system")


def _is_plain(turn: Turn) -> bool:
    return turn["role"] != "tool" and not turn.get("tool_calls")
