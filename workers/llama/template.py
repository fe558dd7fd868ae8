"""A model's own chat template, run as what it is: a program from the outside.

Templates run in jinja2's immutable sandbox (CVE-2024-34359) with bounds on CPU time and output.
What models' templates expect beyond plain jinja2 follows the Hugging Face ``transformers``
documentation on chat templates.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any, NoReturn

import msgspec
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mesh.errors import InvalidRequest, MeshError
from schemas.inference import ChatMessage
from workers.llama.bounds import OutOfTime, bounded

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For models that bring no template."""

MAX_OUTPUT = 8 << 20
"""Characters a template may write."""
MAX_MEMORY = 256 << 20
"""Bytes a template may take while it runs."""
MAX_REASON = 200
"""Characters of a template's own error message that are passed on."""
MAX_REPEAT = 1 << 20
"""Length of a text or list that a template may make by multiplication."""
MAX_EXPONENT = 64

Turn = dict[str, Any]


class BadTemplate(Exception):
    """The model's chat template cannot be compiled."""


class _Generation(Extension):
    """Tolerates ``{% generation %}``, which marks the assistant's tokens for training."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, with bounds on the operators that make something large out of little."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and abs(right) > MAX_EXPONENT:
            msg = "exponent too large"
            raise SecurityError(msg)
        if operator == "*" and _product_size(left, right) > MAX_REPEAT:
            msg = "repetition too long"
            raise SecurityError(msg)
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """Renders conversations for one model."""

    def __init__(
        self, source: str | None, *, bos: str = "", eos: str = "", cpu_seconds: float = 1.0
    ) -> None:
        """Compile the template, or ChatML's for ``None``; raises ``BadTemplate``."""
        environment = _environment()
        try:
            self._template = environment.from_string(CHATML if source is None else source)
        except TemplateSyntaxError as error:
            msg = f"the chat template is broken at line {error.lineno}: {error.message}"
            raise BadTemplate(msg) from error
        self._cpu_seconds = cpu_seconds
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: Sequence[ChatMessage], tools: Sequence[dict[str, Any]] = ()) -> str:
        """Return the prompt text; raises ``InvalidRequest`` if the template refuses.

        Templates often insist on alternating turns or know no system role. Before giving up, turns
        of the same role are merged, then the system text moves into the first user turn.
        """
        turns = [_turn(message) for message in messages]
        refusal: TemplateError | None = None
        for variant in _variants(turns):
            try:
                return self._run(variant, tools)
            except TemplateError as error:
                refusal = refusal or error
        msg = f"the model's chat template refuses these messages: {str(refusal)[:MAX_REASON]}"
        raise InvalidRequest(msg, param="messages") from refusal

    def _run(self, turns: list[Turn], tools: Sequence[dict[str, Any]]) -> str:
        pieces = self._template.generate(
            messages=turns, tools=list(tools) or None, add_generation_prompt=True, **self._tokens
        )
        try:
            with bounded(cpu_seconds=self._cpu_seconds, memory=MAX_MEMORY):
                return _join(pieces)
        except (TemplateError, MeshError):
            raise
        except OutOfTime as error:
            msg = f"the model's chat template took more than {self._cpu_seconds} s"
            raise InvalidRequest(msg, param="messages") from error
        except Exception as error:  # a template can raise anything its expressions can
            msg = f"the model's chat template failed with {type(error).__name__}"
            raise InvalidRequest(msg, param="messages") from error


def _turn(message: ChatMessage) -> Turn:
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


def _variants(turns: list[Turn]) -> Iterator[list[Turn]]:
    """Yield the conversation as it is, then in forms that more templates accept.

    Leading system texts become one in any case: many templates silently drop the second.
    """
    head = list(takewhile(_is_system, turns))
    tail = turns[len(head) :]
    yield [*_merge(head), *tail]
    merged = _merge(sorted(turns, key=_is_system, reverse=True))
    yield merged
    yield _merge([{**turn, "role": "user"} if _is_system(turn) else turn for turn in merged])


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


def _join(pieces: Iterator[str]) -> str:
    size = 0
    parts: list[str] = []
    for piece in pieces:
        size += len(piece)
        if size > MAX_OUTPUT:
            msg = f"the prompt exceeds {MAX_OUTPUT} characters"
            raise InvalidRequest(msg, param="messages")
        parts.append(piece)
    return "".join(parts)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # a prompt is plain text
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: jinja2's own filter escapes for HTML, which models were not trained on."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)


def _product_size(left: Any, right: Any) -> int:
    """Return the length of a repeated text or list, 0 for a product of numbers."""
    for items, times in ((left, right), (right, left)):
        if isinstance(items, str | list | tuple) and isinstance(times, int):
            return len(items) * times
    return 0
