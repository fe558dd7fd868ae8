"""A model's own chat template, run as what it is: a program from the outside.

Templates run in jinja2's immutable sandbox (CVE-2024-34359) with bounds on CPU time and output.
What models' templates expect beyond plain jinja2 follows the Hugging Face ``transformers``
documentation on chat templates.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mesh.errors import InvalidRequest, MeshError
from schemas.inference import ChatMessage
from workers.llama.bounds import OutOfTime, bounded
from workers.llama.toolcalls.plain import introduction, spoken
from workers.llama.toolcalls.recognise import family_of
from workers.llama.turns import Turn, turn_of, variants

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
MAX_VARIABLES = 64
OWN_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})
"""What a request's variables may not replace."""


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
        text = CHATML if source is None else source
        try:
            self._template = environment.from_string(text)
        except TemplateSyntaxError as error:
            msg = f"the chat template is broken at line {error.lineno}: {error.message}"
            raise BadTemplate(msg) from error
        self._family = family_of(text)
        self._shows_tools = "tools" in text
        self._shows_calls = "tool_calls" in text
        self._cpu_seconds = cpu_seconds
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[dict[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the prompt text; raises ``InvalidRequest`` if the template refuses.

        Templates often insist on alternating turns or know no system role. Before giving up, turns
        of the same role are merged, then the system text moves into the first user turn. To a
        template that knows no tools they are told as text. variables: the request's own, such as
        ``enable_thinking``.
        """
        _check(variables or {})
        refusal: TemplateError | None = None
        for variant in variants(self._turns(messages, tools)):
            try:
                return self._run(variant, tools, variables or {})
            except TemplateError as error:
                refusal = refusal or error
        msg = f"the model's chat template refuses these messages: {str(refusal)[:MAX_REASON]}"
        raise InvalidRequest(msg, param="messages") from refusal

    def _turns(
        self, messages: Sequence[ChatMessage], tools: Sequence[dict[str, Any]]
    ) -> list[Turn]:
        turns = [turn_of(message) for message in messages]
        if not self._shows_calls:
            turns = [spoken(turn) for turn in turns]
        if tools and not self._shows_tools:
            turns.insert(0, introduction(tools, self._family))
        return turns

    def _run(
        self, turns: list[Turn], tools: Sequence[dict[str, Any]], variables: Mapping[str, Any]
    ) -> str:
        own = {"messages": turns, "tools": list(tools) or None, "add_generation_prompt": True}
        pieces = self._template.generate({**variables, **own, **self._tokens})
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


def _check(variables: Mapping[str, Any]) -> None:
    if reserved := sorted(OWN_VARIABLES & variables.keys()):
        msg = f"the template's variable {reserved[0]!r} cannot be set"
        raise InvalidRequest(msg, param="template")
    if len(variables) > MAX_VARIABLES:
        raise InvalidRequest(f"at most {MAX_VARIABLES} variables are possible", param="template")


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
