"""From Anthropic's bodies to requests of the mesh."""

from typing import Any

import msgspec
import pytest

from gateway.bodies import BodyDecoder
from gateway.messages.translate import to_count, to_infer, wants_thinking
from gateway.nesting import MAX_DEPTH
from gateway.translate import Terms
from mesh.errors import InvalidRequest, MeshError, Unsupported
from schemas.anthropic.messages import Conversation, MessagesRequest
from schemas.inference import (
    ChatMessage,
    FunctionCall,
    InferRequest,
    Policy,
    Sampling,
    Task,
    ToolCall,
)

MESSAGES = BodyDecoder(MessagesRequest)
COUNTS = BodyDecoder(Conversation)
TERMS = Terms(id="r1", model="spark", tenant="acme", policy=Policy.EDGE_ONLY, deadline_ms=1500)
HELLO = [{"role": "user", "content": "hi"}]
WEATHER = {"name": "weather", "description": "d", "input_schema": {"type": "object"}}
FUNCTION = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}},
}


def body(**fields: Any) -> MessagesRequest:
    plain = {"model": "claude", "max_tokens": 9, "messages": HELLO} | fields
    return MESSAGES.decode(msgspec.json.encode(plain))


def translate(**fields: Any) -> InferRequest:
    return to_infer(body(**fields), TERMS)


def said(*messages: Any, **fields: Any) -> tuple[ChatMessage, ...]:
    return translate(messages=[*messages], **fields).messages


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 0 else {"a": nested(levels - 1)}


def test_terms_and_plain_fields_are_carried_over() -> None:
    """Identity and limits come from the terms, sampling from the body."""
    request = translate(
        temperature=1,
        top_p=0.9,
        top_k=40,
        stop_sequences=["a", "b"],
        stream=True,
        metadata={"user_id": "u"},
        service_tier="auto",
    )

    assert (request.id, request.model, request.tenant) == ("r1", "spark", "acme")
    assert (request.policy, request.deadline_ms) == (Policy.EDGE_ONLY, 1500)
    assert (request.task, request.max_tokens, request.n) == (Task.GENERATE, 9, 1)
    assert request.sampling == Sampling(temperature=1, top_p=0.9, top_k=40)
    assert (request.stop, request.stream) == (("a", "b"), True)


@pytest.mark.parametrize("system", ["be kind", [text("be "), text("kind")]])
def test_the_system_prompt_comes_first(system: Any) -> None:
    """A text or text blocks become one system turn."""
    assert said(*HELLO, system=system) == (
        ChatMessage(role="system", content="be kind"),
        ChatMessage(role="user", content="hi"),
    )


@pytest.mark.parametrize("system", [None, "", []])
def test_an_empty_system_prompt_is_none(system: Any) -> None:
    """Models are not told to be nothing."""
    assert said(*HELLO, system=system) == (ChatMessage(role="user", content="hi"),)


def test_a_conversation_with_tools() -> None:
    """Calls stay with the turn that made them; results become turns of their own, in order."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    first = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("su"), text("n")]}
    failed = {
        "type": "tool_result",
        "tool_use_id": "toolu_2",
        "content": "no such city",
        "is_error": True,
    }
    empty = {"type": "tool_result", "tool_use_id": "toolu_3"}

    turns = said(
        *HELLO,
        assistant(thought, hidden, text("let me see"), use),
        user(first, failed, empty, text("and "), text("now?")),
    )

    assert turns[1:] == (
        ChatMessage(
            role="assistant",
            content="let me see",
            tool_calls=(
                ToolCall(
                    id="toolu_1",
                    function=FunctionCall(name="weather", arguments='{"city":"Ulm"}'),
                ),
            ),
        ),
        ChatMessage(role="tool", content="sun", tool_call_id="toolu_1"),
        ChatMessage(role="tool", content="Error: no such city", tool_call_id="toolu_2"),
        ChatMessage(role="tool", content="", tool_call_id="toolu_3"),
        ChatMessage(role="user", content="and now?"),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ({"type": "auto"}, None),
        ({"type": "any"}, "required"),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_tools_and_their_choice(choice: Any, expected: Any) -> None:
    """Tools and choices take the one form that the mesh knows."""
    request = translate(tools=[WEATHER | {"type": "custom"}], tool_choice=choice)
    assert request.tools == (FUNCTION,)
    assert request.tool_choice == expected
    assert request.parallel_tool_calls is None


def test_tools_that_may_not_be_called_are_not_offered() -> None:
    """The choice ``none`` leaves the model without tools."""
    request = translate(tools=[WEATHER], tool_choice={"type": "none"})
    assert (request.tools, request.tool_choice) == ((), None)


def test_calls_at_a_time() -> None:
    """Parallel calls can be switched off with any choice."""
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert translate(tools=[WEATHER], tool_choice=choice).parallel_tool_calls is False


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "adaptive"}, True),
    ],
)
def test_a_model_thinks_if_asked(thinking: Any, expected: bool) -> None:
    """The switch is a variable of the chat template, and thoughts are shown to who asked."""
    sent = body(thinking=thinking)
    assert to_infer(sent, TERMS).template == {"enable_thinking": expected}
    assert wants_thinking(sent) is expected


def test_the_output_may_have_a_schema() -> None:
    """The newer field for structured outputs is understood."""
    schema = {"type": "object"}
    request = translate(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert request.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema},
    }
    assert translate(output_config={"effort": "low"}).response_format is None


@pytest.mark.parametrize(
    ("fields", "param", "kind"),
    [
        ({"max_tokens": None}, "max_tokens", InvalidRequest),
        ({"max_tokens": 0}, "max_tokens", InvalidRequest),
        ({"messages": []}, "messages", InvalidRequest),
        ({"messages": [*HELLO, assistant(text("It"))]}, "messages", InvalidRequest),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", InvalidRequest),
        ({"messages": [user({"type": "video"})]}, "messages[0].content[0]", InvalidRequest),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text", InvalidRequest),
        (
            {"messages": [user(text("a"), image(type="url", url="http://10.0.0.1/"))]},
            "messages[0].content[1]",
            Unsupported,
        ),
        (
            {"messages": [user(image(type="base64", media_type="image/png", data="eA=="))]},
            "messages[0].content[0]",
            Unsupported,
        ),
        (
            {"messages": [user({"type": "tool_result", "tool_use_id": "t", "content": [image()]})]},
            "messages[0].content[0].content[0]",
            Unsupported,
        ),
        (
            {"messages": [user({"type": "tool_use", "id": "t", "name": "f", "input": {}})]},
            "messages[0].content[0]",
            InvalidRequest,
        ),
        (
            {"messages": [assistant({"type": "tool_result", "tool_use_id": "t"}), *HELLO]},
            "messages[0].content[0]",
            InvalidRequest,
        ),
        ({"system": [{"text": "be kind"}]}, "system[0].type", InvalidRequest),
        ({"temperature": 1.5}, "temperature", InvalidRequest),
        ({"top_k": -1}, "top_k", InvalidRequest),
        ({"stop_sequences": [""]}, "stop_sequences[0]", InvalidRequest),
        ({"tools": [{"name": "bash", "type": "bash_20250124"}]}, "tools[0].type", Unsupported),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema", InvalidRequest),
        ({"tool_choice": {"type": "any"}}, "tool_choice", InvalidRequest),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
            "tool_choice.name",
            InvalidRequest,
        ),
        (
            {"tools": [{"name": "f", "input_schema": nested(MAX_DEPTH)}]},
            "tools[0].input_schema",
            InvalidRequest,
        ),
    ],
)
def test_what_cannot_be_done_is_named(
    fields: dict[str, Any], param: str, kind: type[MeshError]
) -> None:
    """What is wrong, and what models here cannot do, is refused with its field."""
    with pytest.raises(MeshError) as caught:
        translate(**fields)
    assert str(caught.value.param).startswith(param)
    assert type(caught.value) is kind


def test_counting_takes_the_same_prompt() -> None:
    """All that the prompt depends on is the same, and nothing is to be generated."""
    fields = {"messages": HELLO, "system": "be kind", "tools": [WEATHER]}
    sent = COUNTS.decode(msgspec.json.encode({"model": "claude"} | fields))
    count, message = to_count(sent, TERMS), translate(**fields)
    assert (count.task, count.max_tokens) == (Task.COUNT, 0)
    assert (count.messages, count.tools) == (message.messages, message.tools)
    assert count.template == message.template


def test_a_conversation_may_be_counted_at_any_point() -> None:
    """Whoever counts may have the answer in it already."""
    fields = {"model": "claude", "messages": [*HELLO, assistant(text("Hello."))]}
    sent = COUNTS.decode(msgspec.json.encode(fields))
    assert len(to_count(sent, TERMS).messages) == 2
