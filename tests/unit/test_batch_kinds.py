"""What a line of a batch may ask for, and what goes out of what its jobs bring."""

import json
from typing import Any

import pytest
from msgspec import UnsetType

from gateway.batches.answers import Names, answered
from gateway.batches.kinds import KINDS, Prepared
from gateway.translate import Terms
from mesh.errors import InvalidRequest, Unsupported
from schemas.fleet import Tier
from schemas.inference import Choice, Completion, FunctionCall, Policy, ToolCall, Usage

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TURNS = [{"role": "user", "content": "x"}]
LOGPROBS = "message.output_text.logprobs"


def item(token: str) -> dict[str, Any]:
    top = [{"token": token, "logprob": -0.5, "bytes": list(token.encode())}]
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": top}


def completion(text: str, **fields: Any) -> Completion:
    settings: dict[str, Any] = {
        "id": "job_1",
        "model": "m",
        "text": text,
        "finish_reason": "stop",
        "usage": Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1),
        "tier": Tier.EDGE,
        "worker": "w",
    }
    return Completion(**settings | fields)


def terms(model: str | UnsetType) -> Terms:
    assert isinstance(model, str)
    return Terms(id="f" * 32, model=model, tenant="t", policy=Policy.EDGE_FIRST, deadline_ms=1000)


def prepare(endpoint: str, **body: Any) -> Prepared:
    return KINDS[endpoint].prepare(json.dumps({"model": "m", **body}).encode(), terms)


def composed(prepared: Prepared, *completions: Completion) -> Any:
    """Return the body that goes out, as a client reads it."""
    line = answered(Names.of("batch_1", "a"), prepared.compose(completions))
    return json.loads(line or b"")["response"]["body"]


def test_a_jobs_answer_keeps_calls_and_thoughts() -> None:
    """What a job brings is put together as the frames of a request over HTTP are."""
    call = ToolCall(id="call_1", function=FunctionCall(name="f", arguments="{}"))
    job = completion("", finish_reason="tool_calls", reasoning="hm", tool_calls=(call,))
    (choice,) = composed(prepare(CHAT, messages=TURNS), job)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["logprobs"] is None


def test_choices_are_one_job_and_one_line() -> None:
    """All of them come out, each with its own end and its own log-probabilities."""
    prepared = prepare(CHAT, messages=TURNS, n=2, logprobs=True, top_logprobs=1)
    (request,) = prepared.requests
    assert (request.n, request.logprobs) == (2, 1)
    other = Choice(text="b", finish_reason="length", logprobs=[item("b")])
    body = composed(prepared, completion("a", logprobs=[item("a")], others=(other,)))
    choices = body["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert [choice["message"]["content"] for choice in choices] == ["a", "b"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    assert [choice["logprobs"]["content"] for choice in choices] == [[item("a")], [item("b")]]
    assert body["usage"]["completion_tokens"] == 2


def test_prompts_are_jobs_and_one_line() -> None:
    """Choices are numbered on from prompt to prompt, and usage is the sum."""
    prepared = prepare(TEXT, prompt=["p", "q"], n=2, echo=True)
    assert [request.prompt for request in prepared.requests] == ["p", "q"]
    assert {request.n for request in prepared.requests} == {2}
    jobs = [
        completion(text, others=(Choice(text=text.upper(), finish_reason="length"),))
        for text in ("a", "b")
    ]
    body = composed(prepared, *jobs)
    assert [choice["text"] for choice in body["choices"]] == ["pa", "pA", "qb", "qB"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert [each["finish_reason"] for each in body["choices"]] == ["stop", "length"] * 2
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (6, 4)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2


def test_log_probabilities_have_the_form_of_their_endpoint() -> None:
    """The legacy endpoint has lists with offsets, a response has them in its text."""
    job = completion("ab", logprobs=[item("a"), item("b")])
    (choice,) = composed(prepare(TEXT, prompt="p", logprobs=1), job)["choices"]
    assert choice["logprobs"] == {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"a": -0.5}, {"b": -0.5}],
        "text_offset": [0, 1],
    }
    asked = prepare(TEXT, prompt=["p", "q"], logprobs=1, echo=True)
    assert [request.prompt_logprobs for request in asked.requests] == [True, True]
    jobs = [completion("b", logprobs=[item("b")], prompt_logprobs=[item(p)]) for p in ("p", "q")]
    texts = [choice["logprobs"]["tokens"] for choice in composed(asked, *jobs)["choices"]]
    assert texts == [["p", "b"], ["q", "b"]]
    asked = prepare(RESPONSES, input="x", include=[LOGPROBS], top_logprobs=1)
    assert asked.requests[0].logprobs == 1
    (message,) = composed(asked, job)["output"]
    assert message["content"][0]["logprobs"] == [item("a"), item("b")]


@pytest.mark.parametrize(
    ("endpoint", "more", "param"),
    [
        (CHAT, {"messages": TURNS, "n": 0}, "n"),
        (CHAT, {"messages": TURNS, "n": 17}, "n"),
        (CHAT, {"messages": TURNS, "top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"messages": TURNS, "store": True}, "store"),
        (TEXT, {"prompt": ["a"] * 65}, "prompt"),
        (TEXT, {"prompt": ["a", ""]}, "prompt[1]"),
        (RESPONSES, {"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        (RESPONSES, {"input": "a", "background": True}, "background"),
        (RESPONSES, {"input": "a", "store": True}, "store"),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ],
)
def test_what_no_line_can_have_is_refused_by_name(
    endpoint: str, more: dict[str, Any], param: str
) -> None:
    """A line that asks for more than HTTP or a file has is told which field it is."""
    with pytest.raises((Unsupported, InvalidRequest)) as refusal:
        prepare(endpoint, **more)
    assert refusal.value.param == param


def test_the_jobs_of_a_line_have_names_of_their_own() -> None:
    """They follow from the line, and one job is called as the line is."""
    names, other = Names.of("batch_1", "a"), Names.of("batch_1", "b")
    assert names.jobs(1) == (names.job,)
    found = {*names.jobs(3), *names.jobs(1), *other.jobs(3), *other.jobs(1)}
    assert len(found) == 8
    assert names.jobs(3) == names.jobs(64)[:3]
    assert names.jobs(0) == ()
