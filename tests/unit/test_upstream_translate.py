import json
from typing import Any

from schemas.inference import ChatMessage, FunctionCall, InferRequest, Sampling, ToolCall
from workers.upstream.settings import Dialect
from workers.upstream.translate import chat_body

HELLO = (ChatMessage(role="user", content="hello"),)
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def body(
    dialect: Dialect = Dialect.COMPATIBLE, limit: int | None = None, **fields: Any
) -> dict[str, Any]:
    request = InferRequest(**({"model": "spark", "messages": HELLO} | fields))
    decoded: dict[str, Any] = json.loads(chat_body(request, "alpha", dialect, limit))
    return decoded


def test_a_plain_request_sends_nothing_that_was_not_asked() -> None:
    """Only the model, the messages and the wish for a stream with usage are sent."""
    assert body() == {
        "model": "alpha",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_field_is_sent() -> None:
    """Sampling, limits, tools, formats and log-probabilities reach the upstream."""
    sent = body(
        limit=9,
        stop=("a", "b"),
        n=2,
        logprobs=3,
        tools=(TOOL,),
        tool_choice="required",
        parallel_tool_calls=False,
        response_format=SCHEMA,
        sampling=Sampling(
            temperature=0.0,
            top_p=0.5,
            top_k=5,
            min_p=0.1,
            presence_penalty=0.2,
            frequency_penalty=0.3,
            repeat_penalty=1.1,
            seed=-4,
            logit_bias={"7": -100.0},
        ),
    )

    del sent["model"], sent["messages"], sent["stream"], sent["stream_options"]
    assert sent == {
        "max_tokens": 9,
        "stop": ["a", "b"],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": SCHEMA,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "repeat_penalty": 1.1,
        "repetition_penalty": 1.1,
        "seed": -4,
        "logit_bias": {"7": -100.0},
    }


def test_logprobs_of_the_chosen_token_only() -> None:
    """Zero alternatives still ask for the log-probabilities themselves."""
    sent = body(logprobs=0)

    assert sent["logprobs"] is True
    assert "top_logprobs" not in sent


def test_openai_gets_documented_fields_only() -> None:
    """OpenAI refuses bodies with fields it does not know, and newer models ``max_tokens``."""
    sent = body(Dialect.OPENAI, limit=9, sampling=Sampling(top_k=5, min_p=0.1, repeat_penalty=1.1))

    assert sent.keys() == {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_completion_tokens",
    }


def test_a_developer_speaks_as_system_to_open_models() -> None:
    """Chat templates of open models know no developer role; OpenAI's do."""
    messages = (ChatMessage(role="developer", content="be brief"), *HELLO)

    assert body(messages=messages)["messages"][0]["role"] == "system"
    assert body(Dialect.OPENAI, messages=messages)["messages"][0]["role"] == "developer"


def test_tool_conversations_keep_their_links() -> None:
    """Calls keep id and type, results keep the id of their call, and a bare call has no content."""
    call = ToolCall(id="c1", function=FunctionCall(name="add", arguments='{"a":1}'))
    messages = (
        ChatMessage(role="assistant", tool_calls=(call,)),
        ChatMessage(role="tool", content="", tool_call_id="c1"),
    )

    assert body(messages=messages)["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a":1}'},
                }
            ],
        },
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]
