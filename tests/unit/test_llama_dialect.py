"""Dialects: whose template it is, what the prompt looks like, and what is constrained."""

import json
from typing import Any

import pytest

from mesh.errors import InvalidRequest
from schemas.inference import ChatMessage, FunctionCall, InferRequest, ToolCall
from tests.support.vocabulary import SPARK, byte_vocabulary, follow
from workers.llama.constraint import Constraints
from workers.llama.dialect import Dialect
from workers.llama.gguf_header import read_header
from workers.llama.reasoning import Phase
from workers.llama.template import ChatTemplate
from workers.llama.toolcalls.bare import LLAMA3, PLAIN
from workers.llama.toolcalls.deepseek import BEGIN, DEEPSEEK, DEEPSEEK_FENCED
from workers.llama.toolcalls.family import Family
from workers.llama.toolcalls.hermes import HERMES
from workers.llama.toolcalls.mistral import MISTRAL, MISTRAL_LIST, MISTRAL_WITH_ID
from workers.llama.toolcalls.recognise import family_of

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}},
}
CALL = ToolCall(id="call_" + "x" * 24, function=FunctionCall(name="add", arguments='{"a": 1}'))
TALK = (
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content="1 + 1?"),
    ChatMessage(role="assistant", tool_calls=(CALL,)),
    ChatMessage(role="tool", content="2", tool_call_id=CALL.id),
)
CHATTY = (
    "{% if tools %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>"
    "{% endfor %}{% endfor %}<assistant>"
)
HEADED = (
    "{% for m in messages %}<|start_header_id|>"
    "{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>"
    "{% if m.role == 'user' and tools and loop.last %}{{ tools | tojson }}{% endif %}"
    "{% if m.tool_calls %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", '
    '"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endif %}<|eot_id|>{% endfor %}"
)
BRACKETED = (
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}"
    "{% if m.tool_call_id | length != 9 %}{{ raise_exception('ids have length 9') }}{% endif %}"
    "[TOOL_RESULTS]{{ m.tool_call_id }} {{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}[TOOL_CALLS]{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('ids have length 9') }}{% endif %}"
    "{{ c.function.name }} {{ c.id }}{% endfor %}"
    "{% else %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
)
BARRED = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.tool_calls %}" + BEGIN.text + "{{ m.tool_calls[0].function.name }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}"
    "<assistant>{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)


def ask(**changes: Any) -> InferRequest:
    return InferRequest(model="m", messages=(ChatMessage(role="user", content="hi"),), **changes)


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (CHATTY, HERMES),
        (read_header(SPARK).template, HERMES),
        (HEADED, LLAMA3),
        ("{{ tools }}<|python_tag|>", LLAMA3),
        (BRACKETED, MISTRAL_LIST),
        (BRACKETED + "[ARGS]", MISTRAL),
        (BRACKETED + "[ARGS] [CALL_ID]", MISTRAL_WITH_ID),
        (BARRED, DEEPSEEK),
        (BARRED + "```json", DEEPSEEK_FENCED),
        (THINKING, PLAIN),
        ("<|start_header_id|>", PLAIN),
        ("", PLAIN),
    ],
)
def test_a_template_shows_its_family(template: str, family: Family) -> None:
    """The marks that a template writes tell whose it is."""
    assert family_of(template) == family


def test_the_conversation_of_a_hermes_model() -> None:
    """Calls and tools go through its own template."""
    prompt = ChatTemplate(CHATTY).render(TALK, (TOOL,))
    assert prompt == (
        f"<tools>{json.dumps(TOOL)}</tools><system>Be brief.<user>1 + 1?<assistant>"
        '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><tool>2<assistant>'
    )


def test_the_conversation_of_a_llama_3_model() -> None:
    """Arguments are an object, and results go by their own role."""
    prompt = ChatTemplate(HEADED).render(TALK, (TOOL,))
    assert '{"name": "add", "parameters": {"a": 1}}<|eot_id|>' in prompt
    assert prompt.endswith("<|start_header_id|>ipython<|end_header_id|>2<|eot_id|>")


def test_the_conversation_of_a_mistral_model() -> None:
    """Ids are shortened where the template insists, alike in the call and in its result."""
    prompt = ChatTemplate(BRACKETED).render(TALK, (TOOL,))
    call, result = prompt.split("[TOOL_CALLS]")[1].split("[TOOL_RESULTS]")
    short = call.removeprefix("add ")
    assert len(short) == 9
    assert short.isalnum()
    assert result == f"{short} 2[/TOOL_RESULTS]"


def test_a_template_that_shows_calls_but_no_tools_has_them_told() -> None:
    """The model learns of the tools in the system text, in its own family's form."""
    prompt = ChatTemplate(BARRED).render(TALK, (TOOL,))
    assert prompt.startswith("<system>You can call these functions:")
    assert json.dumps(TOOL) in prompt
    assert "<name of the function>" in prompt
    assert prompt.count("<system>") == 1
    assert "Be brief." in prompt


def test_a_template_without_tools_has_everything_told() -> None:
    """Definitions, calls and results become text."""
    prompt = ChatTemplate(None).render(TALK, (TOOL,))
    assert json.dumps(TOOL) in prompt
    assert '{"name":"<name of the function>","arguments":{' in prompt
    assert '<|im_start|>assistant\n{"name": "add", "arguments": {"a": 1}}<|im_end|>' in prompt
    assert "<|im_start|>user\nThe function returned:\n2<|im_end|>" in prompt


def test_what_is_told_is_what_is_read() -> None:
    """A call in the very form that the model is told is read as a call."""
    reader = Dialect.of(None).reader(ask(tools=(TOOL,)), "")
    assert reader is not None
    reading = reader.push('{"name":"add","arguments":{"a": 1}}')
    assert [delta.name for delta in reading.tool_calls if delta.name] == ["add"]


def test_without_tools_nothing_is_told() -> None:
    """A plain conversation stays as it is."""
    assert "functions" not in ChatTemplate(None).render(TALK[:2])


def test_thinking_can_be_switched_off() -> None:
    """The request's variables reach the template, and the dialect sees what it did."""
    template, dialect = ChatTemplate(THINKING), Dialect.of(THINKING)
    request = ask(response_format={"type": "choice", "choices": ["yes"]})
    vocabulary = byte_vocabulary()
    for variables, phase in (({}, Phase.BEFORE), ({"enable_thinking": False}, Phase.AFTER)):
        prompt = template.render(request.messages, (), variables)
        assert prompt.endswith("</think>\n\n") == (phase is Phase.AFTER)
        grammar = dialect.grammar(request, prompt)
        assert grammar is not None
        followed = follow(Constraints(vocabulary).start(grammar), vocabulary, "<think>")
        assert followed == ("<think>" if phase is Phase.BEFORE else "")


@pytest.mark.parametrize(
    "variables", [{"messages": []}, {"tools": 1}, {f"v{n}": n for n in range(99)}]
)
def test_variables_cannot_replace_the_conversation(variables: dict[str, Any]) -> None:
    """What the engine itself sets is not the request's."""
    with pytest.raises(InvalidRequest) as caught:
        ChatTemplate(None).render(TALK[:2], (), variables)
    assert caught.value.param == "template"


def test_variables_may_have_any_other_name() -> None:
    """Names that mean something in Python are only names."""
    assert ChatTemplate("{{ self_ }}{{ x }}").render(TALK[:2], (), {"self": 1, "x": 2}) == "2"


def test_plain_requests_have_no_constraint() -> None:
    """Neither tools nor a form: the fast path."""
    dialect = Dialect.of(CHATTY)
    for request in (ask(), ask(response_format={"type": "text"}), ask(tools=())):
        assert dialect.grammar(request, "") is None
        assert dialect.reader(request, "") is None


def test_tools_that_must_not_be_called_are_no_tools() -> None:
    """Under none all output is text."""
    request = ask(tools=(TOOL,), tool_choice="none")
    assert Dialect.of(CHATTY).grammar(request, "") is None
    assert Dialect.of(CHATTY).reader(request, "") is None


def test_a_form_and_tools_leave_both_open() -> None:
    """With a form the model may still call, but not chat."""
    vocabulary = byte_vocabulary()
    form = {"type": "choice", "choices": ["yes"]}
    grammar = Dialect.of(CHATTY).grammar(ask(tools=(TOOL,), response_format=form), "")
    assert grammar is not None
    constraints = Constraints(vocabulary)
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    for text in ("yes", call):
        assert follow(constraints.start(grammar), vocabulary, text) == text
    assert follow(constraints.start(grammar), vocabulary, "well") == ""


def test_a_raw_prompt_can_have_a_form() -> None:
    """Text that goes on from a prompt is constrained, too."""
    request = ask(prompt="x", response_format={"type": "choice", "choices": ["yes"]})
    assert Dialect.of(THINKING).grammar(request, "x") is not None


def test_readers_see_the_marks() -> None:
    """What a reader looks for is shown even where it is a control token."""
    assert Dialect.of(CHATTY + "</think>").visible_tokens == (
        "<tool_call>", "</tool_call>", "<think>", "</think>",
    )  # fmt: skip
