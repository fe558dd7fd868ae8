"""Legacy completions between HTTP bodies and requests of the mesh."""

from typing import Any

import msgspec
import pytest

from gateway.bodies import BodyDecoder
from gateway.completions.answer import TextEncoder, TextGatherer
from gateway.completions.logprobs import Offsets
from gateway.completions.translate import to_infer
from gateway.problems import Problem
from gateway.sse import DONE
from gateway.translate import Terms
from mesh.errors import MeshError
from schemas.frames import Delta, Done
from schemas.inference import InferRequest, Policy, Task, Usage
from schemas.openai.completions import MAX_PROMPTS, CompletionRequest

DECODER = BodyDecoder(CompletionRequest)
TERMS = Terms(id="r1", model="spark", tenant="acme", policy=Policy.EDGE_ONLY, deadline_ms=1500)
END = Done(seq=9, finish_reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=2))


def body(**fields: Any) -> CompletionRequest:
    return DECODER.decode(msgspec.json.encode({"model": "m", "prompt": "once"} | fields))


def translate(**fields: Any) -> tuple[InferRequest, ...]:
    return to_infer(body(**fields), TERMS)


def item(token: str, logprob: float = -0.5, *top: tuple[str, float]) -> dict[str, Any]:
    entries = [{"token": text, "logprob": value, "bytes": None} for text, value in top]
    spelt = list(token.encode())
    return {"token": token, "logprob": logprob, "bytes": spelt, "top_logprobs": entries}


def gathered(sent: CompletionRequest, *frames: Delta) -> Any:
    gatherer = TextGatherer(sent)
    for frame in frames:
        gatherer.add(frame)
    whole = gatherer.complete(END, completion_id="cmpl-1", model="spark", created=7)
    return msgspec.json.decode(msgspec.json.encode(whole))


def encoder(sent: CompletionRequest) -> TextEncoder:
    return TextEncoder(sent, completion_id="cmpl-1", model="spark", created=7)


def parse(event: bytes) -> Any:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return msgspec.json.decode(event[6:])


def test_a_prompt_is_gone_on_from_as_it_is() -> None:
    """Terms, prompt and limits are carried over, sixteen tokens being the default."""
    (request,) = translate(temperature=0.5, stop="\n", seed=-4, user="u", top_k=3, min_p=0.1)

    assert (request.id, request.model, request.tenant) == ("r1", "spark", "acme")
    assert (request.policy, request.deadline_ms) == (Policy.EDGE_ONLY, 1500)
    assert (request.task, request.prompt, request.messages) == (Task.GENERATE, "once", ())
    assert (request.max_tokens, request.stop) == (16, ("\n",))
    assert (request.sampling.temperature, request.sampling.seed) == (0.5, -4)
    assert (request.sampling.top_k, request.sampling.min_p) == (3, 0.1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", ["text"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2, 3], [(1, 2, 3)]),
        ([[1, 2], [3]], [(1, 2), (3,)]),
        (["text", [1]], ["text", (1,)]),
    ],
)
def test_every_form_of_prompt_is_understood(given: Any, expected: list[Any]) -> None:
    """A text, texts, tokens and lists of tokens become a request for each prompt."""
    assert [request.prompt for request in translate(prompt=given)] == expected


def test_requests_for_several_prompts_have_ids_of_their_own() -> None:
    """The ids begin with that of the HTTP request, so that logs can be searched for it."""
    assert [request.id for request in translate(prompt=["a", "b"])] == ["r1-0", "r1-1"]


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"max_tokens": 0}, "max_tokens", 0),
        ({"n": 3, "best_of": 3}, "n", 3),
        ({"best_of": 1}, "n", 1),
        ({"n": 2, "best_of": 0}, "n", 2),
        ({"logprobs": 0}, "logprobs", 0),
        ({"logprobs": 5}, "logprobs", 5),
        ({}, "logprobs", None),
        ({"suffix": "", "echo": False}, "suffix", ""),
        ({"suffix": "the end", "echo": True}, "suffix", "the end"),
        ({"suffix": "the end", "prompt": ""}, "prompt", ""),
        ({"stop": ["a", "b"]}, "stop", ("a", "b")),
        ({"stream": True}, "stream", True),
        ({"cache_prompt": False}, "cache_prompt", False),
        (
            {"guided_choice": ["a", "b"]},
            "response_format",
            {"type": "choice", "choices": ["a", "b"]},
        ),
    ],
)
def test_fields_are_translated(fields: dict[str, Any], name: str, expected: Any) -> None:
    """Each field of the body sets the one of the request that means the same."""
    (request,) = translate(**fields)
    assert getattr(request, name) == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"best_of": 2}, "best_of"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"n": 17}, "n"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True, "prompt": [1, 2]}, "echo"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_what_cannot_be_done_is_named(fields: dict[str, Any], param: str) -> None:
    """What is wrong, and what no engine does, is refused with its field."""
    with pytest.raises(MeshError) as caught:
        translate(**fields)
    assert str(caught.value.param).startswith(param)


def test_choices_are_gathered_in_order() -> None:
    """Every choice has its text and its own end, or else the one of the whole answer."""
    whole = gathered(
        body(n=2),
        Delta(seq=1, index=1, text="b", finish_reason="length"),
        Delta(seq=2, text="a"),
        Delta(seq=3, text="a", index=0),
        Delta(seq=4, text="stray", index=2),
    )

    assert whole == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 7,
        "model": "spark",
        "choices": [
            {"text": "aa", "index": 0, "logprobs": None, "finish_reason": "stop"},
            {"text": "b", "index": 1, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_an_echo_comes_before_every_choice_of_its_prompt() -> None:
    """Choices are counted prompt by prompt."""
    whole = gathered(body(prompt=["x", "y"], n=2, echo=True), Delta(seq=1, index=2, text="2"))
    assert [choice["text"] for choice in whole["choices"]] == ["x", "x", "y2", "y"]


def test_logprobs_have_the_legacy_shape() -> None:
    """Lists run side by side, over all deltas of a choice."""
    whole = gathered(
        body(logprobs=2),
        Delta(seq=1, text="ab", logprobs=[item("a", -0.1, ("a", -0.1), ("b", -2.0)), item("b")]),
        Delta(seq=2, text="c", logprobs=[item("c", -0.3)]),
    )
    assert whole["choices"][0]["logprobs"] == {
        "tokens": ["a", "b", "c"],
        "token_logprobs": [-0.1, -0.5, -0.3],
        "top_logprobs": [{"a": -0.1, "b": -2.0}, {}, {}],
        "text_offset": [0, 1, 2],
    }


def test_without_alternatives_there_are_none() -> None:
    """``logprobs: 0`` asks for the chosen tokens alone."""
    whole = gathered(body(logprobs=0), Delta(seq=1, text="a", logprobs=[item("a")]))
    assert whole["choices"][0]["logprobs"]["top_logprobs"] is None


def test_offsets_count_characters_and_not_bytes_or_tokens() -> None:
    """A character that is spread over two tokens moves the offset by one."""
    euro = "€".encode()
    halves = [
        {"token": "�", "logprob": -1.0, "bytes": list(euro[:2])},
        {"token": "�", "logprob": -1.0, "bytes": list(euro[2:])},
    ]
    offsets = Offsets(3)
    first = offsets.place(halves, alternatives=False)
    second = offsets.place([item("äh"), {"token": "!?", "logprob": 0.0}], alternatives=False)
    third = offsets.place([item("x")], alternatives=False)
    assert (first.text_offset, second.text_offset, third.text_offset) == ((3, 4), (4, 6), (8,))


def test_a_stream_of_chunks() -> None:
    """Chunks have text; the last of each choice has its end; ``[DONE]`` is last of all."""
    stream = encoder(body(n=2))
    assert stream.opening() == []

    plain = parse(stream.delta(Delta(seq=1, text='a"b')))
    own = parse(stream.delta(Delta(seq=2, index=1, text="c", finish_reason="length")))
    finish, done = stream.closing(END)

    assert plain == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 7,
        "model": "spark",
        "choices": [{"text": 'a"b', "index": 0, "logprobs": None, "finish_reason": None}],
    }
    assert own["choices"][0]["finish_reason"] == "length"
    assert parse(finish)["choices"] == [
        {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]
    assert done == DONE


def test_an_echo_opens_a_stream() -> None:
    """The prompt comes in a chunk of its own, and offsets would count on from it."""
    (opening,) = encoder(body(echo=True)).opening()
    assert parse(opening)["choices"][0]["text"] == "once"


PROMPT = [{"token": "on", "logprob": None, "bytes": [111, 110], "top_logprobs": []}, item("ce")]


def test_an_echo_has_its_log_probabilities_before_those_of_the_output() -> None:
    """All choices of a prompt have them; before its first token there is nothing."""
    asked = body(echo=True, logprobs=1, n=2)
    whole = gathered(
        asked,
        Delta(seq=1, text="!", logprobs=[item("!")], prompt_logprobs=PROMPT),
        Delta(seq=2, index=1, text="?", logprobs=[item("?")]),
    )

    assert translate(echo=True, logprobs=1)[0].prompt_logprobs
    assert [choice["text"] for choice in whole["choices"]] == ["once!", "once?"]
    for choice, last in zip(whole["choices"], "!?", strict=True):
        told = choice["logprobs"]
        assert told["tokens"] == ["on", "ce", last]
        assert told["text_offset"] == [0, 2, 4]
        assert told["token_logprobs"][0] is told["top_logprobs"][0] is None
        assert all(told["token_logprobs"][1:])
        assert None not in told["top_logprobs"][1:]


def test_a_streamed_echo_waits_for_its_log_probabilities() -> None:
    """It comes in a chunk for each choice, before the first output."""
    stream = encoder(body(echo=True, logprobs=0, n=2))
    assert stream.opening() == []
    event = stream.delta(Delta(seq=1, text="!", logprobs=[item("!")], prompt_logprobs=PROMPT))

    choices = [parse(chunk + b"\n\n")["choices"][0] for chunk in event.split(b"\n\n")[:-1]]
    assert [(c["index"], c["text"]) for c in choices] == [(0, "once"), (1, "once"), (0, "!")]
    assert [c["logprobs"]["text_offset"] for c in choices] == [[0, 2], [0, 2], [4]]
    assert choices[0]["logprobs"]["token_logprobs"] == [None, -0.5]


def test_a_blank_that_a_tokenizer_adds_is_not_in_the_text() -> None:
    """Offsets are those of the text all the same."""
    asked = body(echo=True, logprobs=0)
    first = {"token": " on", "logprob": None, "bytes": list(b" on"), "top_logprobs": []}
    told = Delta(seq=1, text="!", logprobs=[item("!")], prompt_logprobs=[first, item("ce")])
    (choice,) = gathered(asked, told)["choices"]
    assert choice["logprobs"]["text_offset"] == [0, 2, 4]


def test_offsets_go_on_from_chunk_to_chunk() -> None:
    """Each choice has its own count."""
    stream = encoder(body(logprobs=0, n=2))
    chunks = [
        stream.delta(Delta(seq=1, text="ab", logprobs=[item("ab")])),
        stream.delta(Delta(seq=2, text="x", index=1, logprobs=[item("x")])),
        stream.delta(Delta(seq=3, text="c", logprobs=[item("c")])),
    ]
    found = [parse(chunk)["choices"][0]["logprobs"]["text_offset"] for chunk in chunks]
    assert found == [[0], [0], [2]]


def test_usage_is_null_until_the_end_when_opted_in() -> None:
    """Every chunk carries ``usage: null``, then one without choices carries the figures."""
    stream = encoder(body(stream_options={"include_usage": True}))
    events = [stream.delta(Delta(seq=1, text="a")), *stream.closing(END)]
    assert [parse(event)["usage"] for event in events[:-2]] == [None, None]
    assert parse(events[-2])["choices"] == []
    assert parse(events[-2])["usage"]["total_tokens"] == 5


def test_a_failure_is_the_envelope() -> None:
    """A failure in mid-stream has the form of any other failure."""
    problem = Problem(status=502, message="lost", type="server_error", code="worker_lost")
    assert parse(encoder(body()).failure(problem))["error"]["code"] == "worker_lost"
