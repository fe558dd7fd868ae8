"""From the bodies of ``/v1/responses`` to requests of the mesh."""

from typing import Any

import msgspec
import pytest

from gateway import translate as chat
from gateway.bodies import BodyDecoder
from gateway.responses import translate
from gateway.responses.composer import Composer
from gateway.responses.ids import input_id, new_token, owner, response_id
from gateway.responses.items import Reference, to_items
from gateway.responses.messages import to_messages
from gateway.translate import Terms
from mesh.errors import InvalidRequest, MeshError, Unsupported
from mesh.prefix import prefixes
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import (
    ChatMessage,
    FunctionCall,
    InferRequest,
    Policy,
    ToolCall,
    Urgency,
    Usage,
)
from schemas.openai.chat import ChatRequest
from schemas.openai.response_items import Item, OutputText
from schemas.openai.responses import ResponsesRequest

TOKEN = "0" * 32
TERMS = Terms(id="r1", model="m", tenant="t", policy=Policy.EDGE_FIRST, deadline_ms=1000)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "name": "add", "description": "sum", "parameters": SCHEMA}
_decoder = BodyDecoder(ResponsesRequest)


def body_of(**fields: Any) -> ResponsesRequest:
    return _decoder.decode(msgspec.json.encode({"model": "m", "input": "hi"} | fields))


def infer(**fields: Any) -> InferRequest:
    """Translate a body as the endpoint does, without a history."""
    body = body_of(**fields)
    translate.check(body)
    return translate.to_infer(body, messages(body), TERMS)


def messages(body: ResponsesRequest) -> tuple[ChatMessage, ...]:
    items: list[Item] = []
    for item in to_items(body.input or "", TOKEN):
        assert not isinstance(item, Reference)
        items.append(item)
    return to_messages(body.instructions, items)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


CALLS = (ToolCall(id="c1", function=FunctionCall(name="add", arguments='{"a":1}')),)
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
INPUTS: list[tuple[Any, list[ChatMessage]]] = [
    ("hi", [user("hi")]),
    ([{"role": "user", "content": "hi"}], [user("hi")]),
    ([{"type": "message", "role": "developer", "content": "x"}], [
        ChatMessage(role="developer", content="x")
    ]),
    (
        [{"role": "user", "content": [
            {"type": "input_text", "text": "a "}, {"type": "input_text", "text": "b"}
        ]}],
        [user("a b")],
    ),
    (
        [{"role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "a"}]}],
        [ChatMessage(role="assistant", content="a")],
    ),
    (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [ChatMessage(role="assistant", content="no")],
    ),
    (
        [{"role": "user", "content": "q"}, CALL, RESULT],
        [
            user("q"),
            ChatMessage(role="assistant", tool_calls=CALLS),
            ChatMessage(role="tool", content="2", tool_call_id="c1"),
        ],
    ),
    (
        [{"role": "assistant", "content": "I add"}, CALL, RESULT],
        [
            ChatMessage(role="assistant", content="I add", tool_calls=CALLS),
            ChatMessage(role="tool", content="2", tool_call_id="c1"),
        ],
    ),
    (
        [CALL, CALL | {"call_id": "c2"}, RESULT | {"output": [{"type": "text", "text": "2"}]}],
        [
            ChatMessage(
                role="assistant",
                tool_calls=(*CALLS, ToolCall(id="c2", function=CALLS[0].function)),
            ),
            ChatMessage(role="tool", content="2", tool_call_id="c1"),
        ],
    ),
    (
        [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
          "content": [{"type": "reasoning_text", "text": "t"}]}, {"role": "user", "content": "q"}],
        [user("q")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), INPUTS)
def test_inputs_become_turns(given: Any, expected: list[ChatMessage]) -> None:
    """Every kind of item is read into the turns that a chat client would have sent."""
    assert list(infer(input=given).messages) == expected


def test_instructions_come_first() -> None:
    """They are the system turn."""
    turns = infer(instructions="be brief").messages
    assert turns == (ChatMessage(role="system", content="be brief"), user("hi"))


REFUSED: list[tuple[dict[str, Any], type[MeshError], str]] = [
    ({"input": None}, InvalidRequest, "input"),
    ({"input": []}, InvalidRequest, "input"),
    ({"input": 7}, InvalidRequest, "input"),
    ({"input": [{"type": "reasoning", "summary": []}]}, InvalidRequest, "input"),
    ({"input": [{"role": "user"}]}, InvalidRequest, "input[0].content"),
    ({"input": [{"content": "x"}]}, InvalidRequest, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, InvalidRequest,
     "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
     Unsupported, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
     Unsupported, "input[0].content[0].type"),
    ({"input": [{"type": "computer_call_output"}]}, Unsupported, "input[0].type"),
    ({"input": [RESULT]}, InvalidRequest, "input"),
    ({"input": [CALL | {"name": None}]}, InvalidRequest, "input[0].name"),
    ({"input": [RESULT | {"output": [{"type": "input_image"}]}]}, Unsupported,
     "input[0].output[0].type"),
    ({"tools": [ADD, {"type": "web_search"}]}, Unsupported, "tools[1].type"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, Unsupported, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, InvalidRequest, "tools[0].name"),
    ({"tool_choice": "required"}, InvalidRequest, "tool_choice"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "name": "sub"}}, InvalidRequest,
     "tool_choice"),
    ({"tools": [ADD], "tool_choice": {"type": "web_search"}}, Unsupported, "tool_choice.type"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, InvalidRequest,
     "text.format.schema"),
    ({"conversation": "conv_1"}, Unsupported, "conversation"),
    ({"prompt": {"id": "p"}}, Unsupported, "prompt"),
    ({"background": True, "store": False}, InvalidRequest, "background"),
    ({"truncation": "middle"}, InvalidRequest, "truncation"),
    ({"temperature": 9}, InvalidRequest, "temperature"),
    ({"metadata": {"a": 1}}, InvalidRequest, "metadata"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "error", "param"), REFUSED)
def test_what_cannot_be_honoured_is_named(
    fields: dict[str, Any], error: type[MeshError], param: str
) -> None:
    """Every refusal names the field at fault."""
    with pytest.raises(error) as caught:
        infer(**fields)
    assert (caught.value.param or "").removesuffix("[...]") == param


HOSTED = ("web_search", "file_search", "code_interpreter", "computer", "mcp", "image_generation")


@pytest.mark.parametrize("kind", HOSTED)
def test_built_in_tools_are_refused(kind: str) -> None:
    """A tool that OpenAI hosts is not passed over in silence."""
    with pytest.raises(Unsupported) as caught:
        infer(tools=[{"type": kind}])
    assert caught.value.param == "tools[0].type"


def test_everything_the_sdk_can_send_is_understood() -> None:
    """Fields that mean nothing here do no harm."""
    request = infer(
        include=["file_search_call.results"],
        max_tool_calls=3,
        service_tier="auto",
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        safety_identifier="s",
        user="u",
        truncation="auto",
        stream_options={"include_obfuscation": True},
        top_logprobs=0,
        verbosity="low",
    )
    assert request == infer()


def test_the_flex_tier_waits_for_idle_slots() -> None:
    """OpenAI's slower tier is background work here, as in chat."""
    assert infer(service_tier="flex").urgency is Urgency.BACKGROUND


def test_the_chat_body_says_the_same() -> None:
    """The same wish is the same request, down to the fingerprints of warm prefixes."""
    function = {"name": "add", "description": "sum", "parameters": SCHEMA}
    schema = {"name": "x", "schema": SCHEMA, "strict": True}
    as_chat = chat.to_infer(
        BodyDecoder(ChatRequest).decode(
            msgspec.json.encode(
                {
                    "model": "m",
                    "messages": [{"role": "user", "content": "hi"}],
                    "tools": [{"type": "function", "function": function}],
                    "tool_choice": {"type": "function", "function": {"name": "add"}},
                    "parallel_tool_calls": False,
                    "response_format": {"type": "json_schema", "json_schema": schema},
                    "max_completion_tokens": 7,
                    "temperature": 0.5,
                    "top_p": 0.25,
                    "logprobs": True,
                    "top_logprobs": 2,
                    "reasoning_effort": "none",
                }
            )
        ),
        TERMS,
    )
    as_response = infer(
        tools=[ADD],
        tool_choice={"type": "function", "name": "add"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema"} | schema},
        max_output_tokens=7,
        temperature=0.5,
        top_p=0.25,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        reasoning={"effort": "none"},
    )
    assert as_response == as_chat
    assert prefixes(as_response) == prefixes(as_chat)


def test_allowed_tools_narrow_the_offer() -> None:
    """Of the tools only those that are allowed reach the model."""
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "add"}],
    }
    request = infer(tools=[ADD, ADD | {"name": "sub"}], tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == ["add"]
    assert request.tool_choice == "required"


def test_forbidden_tools_are_not_offered() -> None:
    """With the choice "none" the model hears of no tools."""
    assert infer(tools=[ADD], tool_choice="none").tools == ()


def test_the_draft_repeats_the_wishes() -> None:
    """What was asked for is in the response object, and no more than is true."""
    body = body_of(
        tools=[ADD],
        tool_choice={"type": "function", "name": "add"},
        text={"format": {"type": "json_object"}},
        truncation="auto",
        user="u",
    )
    draft = translate.draft(body, response_id="resp_1", model="m", created_at=1)
    told = msgspec.json.decode(msgspec.json.encode(draft))
    assert told["tool_choice"] == {"type": "function", "name": "add"}
    assert told["tools"] == [ADD | {"strict": None}]
    assert told["text"] == {"format": {"type": "json_object"}, "verbosity": "medium"}
    assert told["truncation"] == "disabled"
    assert (told["status"], told["output"], told["store"]) == ("in_progress", [], True)


def test_ids_lead_back_to_their_response() -> None:
    """An item's id names its response; anything else names none."""
    token = new_token()
    (item,) = to_items("hi", token)
    assert owner(item.id) == owner(input_id("fc", token, 3)) == response_id(token)
    assert owner("msg_somebody_elses") is None


def test_items_without_a_role_are_references() -> None:
    """Clients that know the item to be stored send its id, with or without a type."""
    body = body_of(input=[{"id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}])
    assert to_items(body.input or "", TOKEN) == (
        Reference("msg_1", "input[0]"),
        Reference("msg_2", "input[1]"),
    )


def test_default_parts_are_not_shared() -> None:
    """Two texts never share their list of log-probabilities."""
    assert OutputText(text="a").logprobs is not OutputText(text="b").logprobs


def test_a_later_turn_begins_with_the_earlier_one() -> None:
    """What a worker holds of one turn is a prefix of the next: the same bytes in the same order."""
    question = to_items("add 1", TOKEN)
    composer = Composer(translate.draft(body_of(), response_id="r", model="m", created_at=0), TOKEN)
    composer.add(Delta(seq=0, reasoning="hm"))
    composer.add(Delta(seq=1, text=" I add.\n"))
    piece = ToolCallDelta(index=0, id="c1", name="add", arguments='{"a":1}')
    composer.add(Delta(seq=2, tool_calls=(piece,)))
    composer.finish(Done(seq=3, finish_reason="tool_calls", usage=Usage()), 0)
    items = [item for item in question if not isinstance(item, Reference)]
    first = to_messages("be brief", items)
    second = to_messages("be brief", (*items, *composer.response.output))
    assert second == (
        *first,
        ChatMessage(role="assistant", content=" I add.\n", tool_calls=CALLS),
    )
    one, two = (translate.to_infer(body_of(), turns, TERMS) for turns in (first, second))
    assert prefixes(two)[: len(first)] == prefixes(one)
