"""From OpenAI chat bodies to requests of the mesh."""

from typing import Any

import msgspec
import pytest

from gateway.bodies import BodyDecoder
from gateway.nesting import MAX_DEPTH
from gateway.translate import Terms, to_infer
from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import InferRequest, Policy, Urgency
from schemas.openai.chat import ChatRequest

DECODER = BodyDecoder(ChatRequest)
HELLO = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def translate(**fields: Any) -> InferRequest:
    body = {"model": "m", "messages": HELLO} | fields
    terms = Terms(id="r1", model="spark", tenant="acme", policy=Policy.EDGE_ONLY, deadline_ms=1500)
    return to_infer(DECODER.decode(msgspec.json.encode(body)), terms)


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 0 else {"a": nested(levels - 1)}


def test_terms_and_plain_fields_are_carried_over() -> None:
    """Identity and limits come from the terms, sampling from the body."""
    request = translate(temperature=0.5, top_p=0.9, seed=-(2**63), presence_penalty=-2, n=2)

    assert (request.id, request.model, request.tenant) == ("r1", "spark", "acme")
    assert (request.policy, request.deadline_ms) == (Policy.EDGE_ONLY, 1500)
    assert (request.sampling.temperature, request.sampling.top_p) == (0.5, 0.9)
    assert (request.sampling.seed, request.sampling.presence_penalty) == (-(2**63), -2)
    assert request.n == 2


def test_max_completion_tokens_wins() -> None:
    """The newer name of the limit wins over the older one."""
    assert translate(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert translate(max_tokens=5).max_tokens == 5
    assert translate().max_tokens is None


@pytest.mark.parametrize("tier", [None, "auto", "default", "priority"])
def test_the_flex_tier_is_background(tier: str | None) -> None:
    """Nobody waits for what is asked for in that tier; all others are interactive."""
    assert translate(service_tier="flex").urgency is Urgency.BACKGROUND
    assert translate(service_tier=tier).urgency is Urgency.INTERACTIVE


@pytest.mark.parametrize(
    ("given", "expected"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())]
)
def test_stop_becomes_a_tuple(given: Any, expected: tuple[str, ...]) -> None:
    """A text, a list and null all become a tuple of texts."""
    assert translate(stop=given).stop == expected


def test_text_parts_are_flattened() -> None:
    """The text parts of a message are joined in order."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    request = translate(messages=[{"role": "user", "content": parts}])

    assert request.messages[0].content == "ab"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video"])
def test_a_part_that_is_not_text_is_refused_by_its_place(kind: str) -> None:
    """A part that no local model can read is named in the refusal."""
    parts = [{"type": "text", "text": "a"}, {"type": kind, kind: {"url": "data:,"}}]

    with pytest.raises(Unsupported) as caught:
        translate(messages=[{"role": "user", "content": parts}])

    assert caught.value.param == "messages[0].content[1]"


def test_only_an_assistant_may_say_nothing() -> None:
    """Content may be missing next to tool calls, and nowhere else."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}]

    assert translate(messages=turns).messages[1].tool_calls[0].function.name == "f"
    with pytest.raises(InvalidRequest) as caught:
        translate(messages=[{"role": "user"}])
    assert caught.value.param == "messages[0].content"


def test_a_tool_message_needs_the_id_of_its_call() -> None:
    """The result of a tool is useless without the call it answers."""
    with pytest.raises(InvalidRequest) as caught:
        translate(messages=[{"role": "tool", "content": "4"}])
    assert caught.value.param == "messages[0].tool_call_id"


def test_tools_and_a_forced_choice_are_passed_on() -> None:
    """Tools keep the form of the OpenAI body, unknown fields left out."""
    choice = {"type": "function", "function": {"name": "f"}}

    request = translate(tools=[FUNCTION], tool_choice=choice, parallel_tool_calls=False)

    assert request.tools == (FUNCTION,)
    assert request.tool_choice == choice
    assert request.parallel_tool_calls is False


def test_tools_that_may_not_be_called_are_dropped() -> None:
    """With ``tool_choice: none`` any worker can answer, so none needs to know tools."""
    request = translate(tools=[FUNCTION], tool_choice="none")

    assert (request.tools, request.tool_choice) == ((), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "required"},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    ],
)
def test_a_choice_of_no_tool_is_refused(fields: dict[str, Any]) -> None:
    """A choice without tools, or of a tool that is not there, is a mistake."""
    with pytest.raises(InvalidRequest) as caught:
        translate(**fields)
    assert caught.value.param == "tool_choice"


def test_response_formats() -> None:
    """Plain text is no constraint; a schema is passed on as it came."""
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}

    assert translate(response_format={"type": "text"}).response_format is None
    assert translate(response_format={"type": "json_object"}).response_format == {
        "type": "json_object"
    }
    assert translate(
        response_format={"type": "json_schema", "json_schema": schema}
    ).response_format == {"type": "json_schema", "json_schema": schema}
    with pytest.raises(InvalidRequest) as caught:
        translate(response_format={"type": "json_schema"})
    assert caught.value.param == "response_format.json_schema"


def test_schemas_are_bounded_in_depth() -> None:
    """A schema nested deeper than any sane one is refused, one at the bound is not."""
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": nested(MAX_DEPTH - 1)}}
    assert translate(response_format=form).response_format == form

    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": nested(MAX_DEPTH + 1)}}
    with pytest.raises(InvalidRequest) as caught:
        translate(response_format=form)
    assert caught.value.param == "response_format.json_schema.schema"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
OF_SCHEMA = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"guided_json": SCHEMA}, OF_SCHEMA),
        ({"json_schema": SCHEMA}, OF_SCHEMA),
        ({"structured_outputs": {"json": SCHEMA}}, OF_SCHEMA),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, OF_SCHEMA),
        ({"guided_regex": "[a-z]+"}, {"type": "regex", "pattern": "[a-z]+"}),
        ({"structured_outputs": {"regex": "a|b"}}, {"type": "regex", "pattern": "a|b"}),
        ({"guided_choice": ["yes", "no"]}, {"type": "choice", "choices": ["yes", "no"]}),
        ({"grammar": 'root ::= "a"'}, {"type": "grammar", "grammar": 'root ::= "a"'}),
        ({"guided_grammar": 'start: "a"'}, {"type": "grammar", "grammar": 'start: "a"'}),
    ],
)
def test_every_way_to_ask_for_a_form_of_output(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The fields of llama-server and vLLM mean the same as a response format."""
    assert translate(**fields).response_format == expected


def test_forms_of_output_exclude_each_other() -> None:
    """Two fields that ask for a form of output are a mistake that names both."""
    with pytest.raises(InvalidRequest) as caught:
        translate(response_format={"type": "json_object"}, guided_regex="a")
    assert caught.value.param == "guided_regex"
    assert "'response_format' and 'guided_regex'" in caught.value.message


def test_variables_for_the_chat_template() -> None:
    """Template variables pass; an effort of none also switches thinking off."""
    assert translate().template is None
    assert translate(chat_template_kwargs={"enable_thinking": False}).template == {
        "enable_thinking": False
    }
    assert translate(reasoning_effort="none").template == {
        "reasoning_effort": "none",
        "enable_thinking": False,
    }
    with pytest.raises(InvalidRequest) as caught:
        translate(chat_template_kwargs=nested(MAX_DEPTH + 1))
    assert caught.value.param == "chat_template_kwargs"


def test_limits_on_the_end_of_the_output() -> None:
    """Fields that forbid or force an end, and the switch of the prefix cache, are carried over."""
    request = translate(ignore_eos=True, min_tokens=3, stop_token_ids=[7], cache_prompt=False)

    assert (request.sampling.ignore_eos, request.sampling.min_tokens) == (True, 3)
    assert (request.sampling.stop_token_ids, request.cache_prompt) == ((7,), False)


def test_logprobs() -> None:
    """``logprobs`` alone reports the chosen token, ``top_logprobs`` alternatives with it."""
    assert translate().logprobs is None
    assert translate(logprobs=True).logprobs == 0
    assert translate(logprobs=True, top_logprobs=3).logprobs == 3
    with pytest.raises(InvalidRequest) as caught:
        translate(top_logprobs=3)
    assert caught.value.param == "top_logprobs"


def test_logit_bias_keys_are_token_ids() -> None:
    """A bias needs a token id, unless it is zero and changes nothing."""
    assert translate(logit_bias={"12": -100, "x": 0}).sampling.logit_bias == {"12": -100}
    assert translate(logit_bias={"x": 0}).sampling.logit_bias is None
    with pytest.raises(InvalidRequest) as caught:
        translate(logit_bias={"x": 1})
    assert caught.value.param == "logit_bias"


def test_extensions_of_local_servers() -> None:
    """Fields of llama.cpp and vLLM are understood; -1 for ``top_k`` keeps the vocabulary."""
    sampling = translate(top_k=-1, min_p=0.1, repetition_penalty=1.2).sampling

    assert (sampling.top_k, sampling.min_p, sampling.repeat_penalty) == (0, 0.1, 1.2)


def test_other_modalities_are_refused() -> None:
    """Text is all that comes out."""
    assert translate(modalities=["text"]).model == "spark"
    with pytest.raises(Unsupported) as caught:
        translate(modalities=["text", "audio"])
    assert caught.value.param == "modalities"
