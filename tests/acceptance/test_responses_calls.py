"""Function calls, reasoning, log-probabilities and failures, from an upstream that can be scripted.

The upstream's chunks go through a worker, the bus and the gateway before the client sees items.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from tests.support.faulty_upstream import Fault, FaultyUpstream, chunk, faulty_upstream
from tests.support.gateway import gateway_of
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.responses import client_at
from tests.support.upstream import engine_on

ADD: Any = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


class Sum(BaseModel):
    """What a structured answer holds."""

    total: int


def called(index: int, arguments: str, **first: Any) -> Mapping[str, Any]:
    """Return the chunk of a piece of a call; ``first``: its id and its name."""
    name = {"name": first["name"]} if first else {}
    head = {"id": first["id"], "type": "function"} if first else {}
    function = name | {"arguments": arguments}
    return chunk({"tool_calls": [{"index": index, **head, "function": function}]})


CALLS = [
    chunk({"reasoning_content": "let me "}),
    chunk({"reasoning_content": "see"}),
    chunk({"content": "I add."}),
    called(0, '{"a"', id="c1", name="add"),
    called(0, ":1}"),
    called(1, '{"a":2}', id="c2", name="add"),
    chunk({}, finish_reason="tool_calls"),
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    },
]


@asynccontextmanager
async def scripted_upstream(
    folder: Path,
) -> AsyncIterator[tuple[FaultyUpstream, openai.AsyncOpenAI]]:
    """Run a mesh whose only worker is an upstream that a test writes the lines for."""
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream) as engine,
        broker_in(folder) as broker,
        agent_of(broker, engine),
        router_of(broker, "spark") as (router, fleet),
        gateway_of(router, fleet) as address,
        client_at(address) as client,
    ):
        yield upstream, client


async def test_a_model_thinks_speaks_and_calls(tmp_path: Path) -> None:
    """Reasoning, text and calls are items of their own, and usage tells what was cached."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.script = CALLS
        response = await client.responses.create(model="spark", input="1+1?", tools=[ADD])

    thought, _, *calls = response.output
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert isinstance(thought, ResponseReasoningItem)
    assert thought.content is not None
    assert thought.content[0].text == "let me see"
    assert response.output_text == "I add."
    assert [
        (call.call_id, call.name, json.loads(call.arguments), call.status)
        for call in calls
        if isinstance(call, ResponseFunctionToolCall)
    ] == [("c1", "add", {"a": 1}, "completed"), ("c2", "add", {"a": 2}, "completed")]
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response.usage.total_tokens == 18


async def test_calls_are_streamed(tmp_path: Path) -> None:
    """The client's accumulator agrees with the response at the end of the stream."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.script = CALLS
        async with client.responses.stream(model="spark", input="1+1?", tools=[ADD]) as stream:
            events: list[Any] = [event async for event in stream]
            final = await stream.get_final_response()

    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert deltas == ['{"a"', ":1}", '{"a":2}']
    thoughts = [e.delta for e in events if e.type == "response.reasoning_text.delta"]
    assert "".join(thoughts) == "let me see"
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.to_dict()["id"] for item in done] == [
        item.to_dict()["id"] for item in final.output
    ]


async def test_results_go_back_to_the_model(tmp_path: Path) -> None:
    """A continued conversation gives the model its call and the result as chat turns."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.script = CALLS
        first = await client.responses.create(
            model="spark", input="1+1?", tools=[ADD], instructions="use tools"
        )
        upstream.script = None
        second = await client.responses.create(
            model="spark",
            input=[
                {"type": "function_call_output", "call_id": "c1", "output": "2"},
                {"type": "function_call_output", "call_id": "c2", "output": "3"},
            ],
            previous_response_id=first.id,
            tools=[ADD],
            instructions="use tools",
        )

    one, two = (body["messages"] for body in upstream.bodies)
    assert second.output_text == "0 1 2 3 4 "
    assert two[: len(one)] == one
    assistant, *results = two[len(one) :]
    assert assistant["content"] == "I add."
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [
        '{"a":1}',
        '{"a":2}',
    ]
    assert [(turn["role"], turn["tool_call_id"], turn["content"]) for turn in results] == [
        ("tool", "c1", "2"),
        ("tool", "c2", "3"),
    ]


async def test_a_structured_answer_is_parsed(tmp_path: Path) -> None:
    """The schema reaches the worker, and the client parses what comes back."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.script = [chunk({"content": '{"total": 2}'}), chunk({}, finish_reason="stop")]
        response = await client.responses.parse(model="spark", input="1+1?", text_format=Sum)

    assert response.output_parsed == Sum(total=2)
    form = upstream.bodies[0]["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    assert form["json_schema"]["schema"]["required"] == ["total"]


async def test_log_probabilities(tmp_path: Path) -> None:
    """They come with the text when they are included."""
    item = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.script = [
            chunk({"content": "a"}, logprobs={"content": [item]}),
            chunk({}, finish_reason="stop"),
        ]
        response = await client.responses.create(
            model="spark", input="x", include=["message.output_text.logprobs"], top_logprobs=2
        )

    told: Any = response.to_dict()
    (message,) = told["output"]
    (part,) = message["content"]
    assert part["logprobs"] == [item]
    assert (upstream.bodies[0]["logprobs"], upstream.bodies[0]["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.ERROR_EVENT, Fault.MALFORMED])
async def test_a_lost_stream_fails(tmp_path: Path, fault: Fault) -> None:
    """An answer that breaks off ends as failed, and never as completed."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.fault = fault
        stream = await client.responses.create(model="spark", input="x", stream=True)
        events: list[Any] = [event async for event in stream]
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(events[0].response.id)

    error, failed = events[-2:]
    assert (error.type, failed.type) == ("error", "response.failed")
    assert (failed.response.status, failed.response.error.code) == ("failed", "server_error")
    assert "response.completed" not in {event.type for event in events}
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_a_failure_before_any_output_is_a_status(tmp_path: Path) -> None:
    """A stream that never began is an HTTP error with the field's own name."""
    async with scripted_upstream(tmp_path) as (upstream, client):
        upstream.fault = Fault.REJECTED
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="spark", input="x", stream=True)
    assert caught.value.param == "temperature"
