"""Chat templates: what models expect, and what they must not be able to do."""

from datetime import datetime
from typing import Any

import pytest

from mesh.errors import InvalidRequest
from schemas.inference import ChatMessage, FunctionCall, Role, ToolCall
from workers.llama.template import BadTemplate, ChatTemplate

ALTERNATING = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}"
    "{% endfor %}"
)
GROW = (
    "{% set ns = namespace(x='a') %}"
    "{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
)
SPIN = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def turn(role: Role, content: str = "", **changes: Any) -> ChatMessage:
    return ChatMessage(role=role, content=content, **changes)


def render(source: str | None, *messages: ChatMessage, **changes: Any) -> str:
    return ChatTemplate(source, **changes).render(messages or (turn("user", "hi"),))


def test_without_a_template_chatml_is_used() -> None:
    """A model that brings no template gets ChatML, ready for the answer."""
    assert render(None, turn("system", "be brief"), turn("user", "hi")) == (
        "<|im_start|>system\nbe brief<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_templates_know_the_special_tokens_and_the_generation_prompt() -> None:
    """BOS, EOS and add_generation_prompt are set."""
    source = "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}"
    assert render(source, bos="<s>", eos="</s>") == "<s></s>TrueTrue"


def test_blocks_leave_no_blank_lines() -> None:
    """Newlines after and blanks before a block are dropped, as models were trained."""
    assert render("{% for m in messages %}\n  {% if true %}\nx\n{% endif %}\n{% endfor %}") == "x\n"


def test_loop_controls_and_the_generation_tag_are_understood() -> None:
    """Templates use break, continue and the training mark generation."""
    source = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i == 3 %}{% break %}{% endif %}{% generation %}{{ i }}{% endgeneration %}"
        "{% endfor %}"
    )
    assert render(source) == "02"


def test_tojson_writes_plain_json() -> None:
    """JSON is neither escaped for HTML nor for ASCII."""
    assert render("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'


def test_templates_can_ask_for_the_date() -> None:
    """strftime_now gives the local date."""
    assert render("{{ strftime_now('%Y') }}") == datetime.now().astimezone().strftime("%Y")


def test_the_developer_role_is_a_system_role() -> None:
    """Templates know system only."""
    source = "{% for m in messages %}{{ m.role }} {% endfor %}"
    assert render(source, turn("developer", "x"), turn("user", "y")) == "system user "


def test_leading_system_texts_become_one() -> None:
    """Templates often take the first system text only."""
    source = "{{ messages[0].content }}|{{ messages | length }}"
    assert render(source, turn("system", "a"), turn("developer", "b"), turn("user")) == "a\n\nb|2"


def test_a_strict_template_gets_merged_turns_without_system() -> None:
    """Doubled turns and the system text are merged when the template refuses them."""
    messages = (
        turn("system", "s"),
        turn("user", "a"),
        turn("user", "b"),
        turn("assistant", "c"),
        turn("user", "d"),
    )
    assert render(ALTERNATING, *messages) == "[user]s\n\na\n\nb[assistant]c[user]d"


def test_what_no_form_can_satisfy_is_refused_with_the_template_s_words() -> None:
    """The template's own message reaches the caller, on the field messages."""
    with pytest.raises(InvalidRequest, match="roles must alternate") as caught:
        render(ALTERNATING, turn("assistant", "first"))
    assert caught.value.param == "messages"


def test_tool_arguments_are_parsed() -> None:
    """Templates get an object; what is no JSON stays text."""
    source = "{% for c in messages[0].tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}"
    calls = [
        ToolCall(id="1", function=FunctionCall(name="f", arguments=a)) for a in ('{"x":1}', "x{")
    ]
    assert render(source, turn("assistant", tool_calls=tuple(calls))) == '{"x": 1}"x{"'


def test_a_template_that_cannot_be_compiled_is_refused() -> None:
    """The error names the line."""
    with pytest.raises(BadTemplate, match="line 2"):
        ChatTemplate("\n{% if %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ raise_exception.__globals__.json }}",
        "{{ 'a' * 99999999 }}",
        "{{ [1] * 99999999 }}",
        "{{ 9 ** 9999999 }}",
        "{{ 1 / 0 }}",
        "{{ missing.field }}",
        "{% include 'x' %}",
        "{% for i in range(99999) %}{{ messages[0].content * 999 }}{% endfor %}",
        GROW,
        SPIN,
    ],
)
def test_a_hostile_template_cannot_escape_or_exhaust(source: str) -> None:
    """Escapes, changes, huge results and endless loops end in a refused request."""
    with pytest.raises(InvalidRequest):
        render(source, cpu_seconds=0.1)
