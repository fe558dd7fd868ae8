"""Conversations, and their text by the chat template that also goes into the GGUF.

Training text and run-time prompts come from the same template, so they cannot drift apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8").rstrip()

Message = dict[str, Any]  # an OpenAI chat message: the template's own input


@dataclass
class Conversation:
    """Messages and the tools on offer; `sort_keys` as plain jinja2's `tojson` would do it."""

    messages: list[Message]
    tools: list[Message] = field(default_factory=list)
    sort_keys: bool = False


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def call(name: str, arguments: dict[str, Any]) -> Message:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}


def result(content: str) -> Message:
    return {"role": "tool", "content": content}


@lru_cache(maxsize=2)
def _template(*, sort_keys: bool) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def tojson(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, sort_keys=sort_keys)

    environment.filters["tojson"] = tojson
    return environment.from_string(TEMPLATE)


def render(conversation: Conversation, *, prompt: bool = False) -> str:
    """Write the whole text; with `prompt`, ending where the assistant is to begin."""
    return _template(sort_keys=conversation.sort_keys).render(
        messages=conversation.messages,
        tools=conversation.tools,
        add_generation_prompt=prompt,
    )
