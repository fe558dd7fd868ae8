"""What llama.cpp can do, as OpenAI's own client asks for it over HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from schemas.fleet import ModelState
from tests.support.gateway import gateway_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.tiny_model import TinyShape, write_tiny_model
from tests.support.wait import until
from workers.llama.engine import LlamaEngine

CONTEXT = 2048
"""Tokens: room for tools told as text, and for a model that indents as far as it may."""
ASKED: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
PERSON: Any = {
    "type": "object",
    "properties": {
        "name": {"enum": ["ada", "bob"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": PERSON}}
    for name in ("look_up", "forget")
]
NAMED: Any = {"type": "function", "function": {"name": "forget"}}


@asynccontextmanager
async def llama_url(folder: Path, *keys: ApiKey) -> AsyncIterator[str]:
    """Serve a tiny model through a real gateway; return the base URL for clients."""
    model = write_tiny_model(folder / "tiny.gguf", TinyShape(context=CONTEXT))
    engine = LlamaEngine(llama_settings(model))
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder / "broker"))
        await stack.enter_async_context(agent_of(broker, engine))
        router, fleet = await stack.enter_async_context(router_of(broker, "tiny"))
        await until(lambda: fleet.models()[0].state is ModelState.READY, within=30)
        settings = GatewaySettings(keys=keys, drain_timeout=2)
        address = await stack.enter_async_context(gateway_of(router, fleet, settings))
        yield address.url


@asynccontextmanager
async def llama_client(folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        llama_url(folder) as url,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        yield client


def json_schema(schema: Any) -> Any:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


async def test_an_answer_keeps_to_its_schema(tmp_path: Path) -> None:
    """A model that babbles answers with JSON that fits, whatever it would have said."""
    async with llama_client(tmp_path) as client:
        answers = [
            await client.chat.completions.create(
                **ASKED, response_format=json_schema(PERSON), temperature=1.5, seed=seed
            )
            for seed in range(3)
        ]

    for answer in answers:
        jsonschema.validate(json.loads(answer.choices[0].message.content or ""), PERSON)
        assert answer.choices[0].finish_reason == "stop"


async def test_what_a_schema_cannot_express_is_named(tmp_path: Path) -> None:
    """A keyword that could not be kept to is a 400 that names it and where it stands."""
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    async with llama_client(tmp_path) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**ASKED, response_format=json_schema(schema))

    assert "uniqueItems" in caught.value.message
    assert (caught.value.param or "").startswith("response_format")


async def test_a_named_tool_is_called_in_deltas(tmp_path: Path) -> None:
    """Id and name come once, arguments in pieces that fit the function's schema."""
    async with llama_client(tmp_path) as client:
        stream = await client.chat.completions.create(
            **ASKED, tools=TOOLS, tool_choice=NAMED, stream=True, temperature=0
        )
        choices = [chunk.choices[0] async for chunk in stream]

    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    named = [(call.id, call.function.name) for call in calls if call.function and call.id]
    arguments = "".join(c.function.arguments or "" for c in calls if c.function)
    assert [name for _, name in named] == ["forget"]
    assert {call.index for call in calls} == {0}
    jsonschema.validate(json.loads(arguments), PERSON)
    assert choices[-1].finish_reason == "tool_calls"


async def test_a_required_tool_is_one_of_those_on_offer(tmp_path: Path) -> None:
    """With tool_choice required the whole answer is a call, and never two if not parallel."""
    async with llama_client(tmp_path) as client:
        answer = await client.chat.completions.create(
            **ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, temperature=0
        )

    message = answer.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in {"look_up", "forget"}
    jsonschema.validate(json.loads(call.function.arguments), PERSON)
    assert not message.content


async def test_choices_have_log_probabilities(tmp_path: Path) -> None:
    """Every token of every choice has its own and its rivals' log-probabilities."""
    async with llama_client(tmp_path) as client:
        answer = await client.chat.completions.create(
            **ASKED, n=2, seed=3, temperature=2, max_tokens=5, logprobs=True, top_logprobs=2
        )

    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    for choice in answer.choices:
        assert choice.logprobs is not None
        items = choice.logprobs.content or []
        assert "".join(item.token for item in items) == choice.message.content
        assert [len(item.top_logprobs) for item in items] == [2] * 5
        assert all(item.logprob <= 0 for item in items)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10


async def test_bias_and_extension_fields_reach_the_sampler(tmp_path: Path) -> None:
    """A biased letter is all that is said, and ignore_eos goes on to the limit."""
    async with llama_client(tmp_path) as client:
        answer = await client.chat.completions.create(
            **ASKED,
            logit_bias={str(ord("q")): 100},
            max_completion_tokens=6,
            extra_body={"ignore_eos": True, "top_k": 1, "min_p": 0.1, "repeat_penalty": 1.0},
        )

    assert answer.choices[0].message.content == "qqqqqq"
    assert answer.choices[0].finish_reason == "length"


async def test_a_regular_expression_and_a_choice_are_kept_to(tmp_path: Path) -> None:
    """The fields by which vLLM's clients ask for constrained text work as there."""
    async with llama_client(tmp_path) as client:
        create = client.chat.completions.create
        chosen = await create(**ASKED, extra_body={"guided_choice": ["yes", "no"]})
        dated = await create(**ASKED, extra_body={"guided_regex": "20[0-9]{2}-[01][0-9]"})

    assert chosen.choices[0].message.content in {"yes", "no"}
    year, month = (dated.choices[0].message.content or "").split("-")
    assert 2000 <= int(year) < 2100
    assert int(month) < 20


async def test_a_prompt_beyond_the_context_is_refused_by_its_code(tmp_path: Path) -> None:
    """The code is the one that clients look for in order to shorten the conversation."""
    long: Any = [{"role": "user", "content": "a " * CONTEXT}]
    async with llama_client(tmp_path) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="tiny", messages=long)

    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


async def test_one_tenants_conversation_is_never_anothers_warm_prefix(tmp_path: Path) -> None:
    """The same words come from the cache for who said them before, and for nobody else."""
    keys = [ApiKey.parse(f"{tenant}={tenant}-key") for tenant in ("ours", "theirs")]
    body: Any = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "canary " * 40}],
        "max_tokens": 2,
    }
    async with llama_url(tmp_path, *keys) as url:
        cached = [await _cached(url, key, body) for key in ("ours-key", "ours-key", "theirs-key")]

    assert cached[0] == 0
    assert cached[1] > 250
    assert cached[2] == 0


async def _cached(url: str, key: str, body: Any) -> int:
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        answer = await client.chat.completions.create(**body)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    return answer.usage.prompt_tokens_details.cached_tokens or 0
