"""Embeddings and rerank between HTTP bodies and requests of the mesh."""

import base64
from typing import Any

import msgspec
import pytest

from gateway import embeddings, rerank
from gateway.bodies import BodyDecoder
from gateway.translate import Terms
from mesh.errors import InvalidRequest
from mesh.vectors import pack
from schemas.fleet import Tier
from schemas.inference import Completion, Policy, Task, Usage
from schemas.openai.embeddings import MAX_INPUTS, EmbeddingRequest
from schemas.openai.rerank import RerankRequest

TERMS = Terms(id="r1", model="spark", tenant="acme", policy=Policy.EDGE_ONLY, deadline_ms=1500)
EMBEDDINGS = BodyDecoder(EmbeddingRequest)
RERANK = BodyDecoder(RerankRequest)


def embedding_body(**fields: Any) -> EmbeddingRequest:
    return EMBEDDINGS.decode(msgspec.json.encode({"model": "m", "input": "a"} | fields))


def rerank_body(**fields: Any) -> RerankRequest:
    body = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}, "c"]}
    return RERANK.decode(msgspec.json.encode(body | fields))


def completion(**fields: Any) -> Completion:
    settings: dict[str, Any] = {
        "id": "r1",
        "model": "spark",
        "text": "",
        "finish_reason": "stop",
        "usage": Usage(prompt_tokens=7),
        "tier": Tier.EDGE,
        "worker": "w1",
    }
    return Completion(**settings | fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", ("text",)),
        (["one", "two"], ("one", "two")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["text", [1]], ("text", (1,))),
    ],
)
def test_every_form_of_input_is_understood(given: Any, expected: tuple[Any, ...]) -> None:
    """A text, texts, tokens and lists of tokens become a tuple of inputs."""
    request = embeddings.to_infer(embedding_body(input=given, dimensions=8, user="u"), TERMS)
    assert request.inputs == expected
    assert (request.task, request.dimensions) == (Task.EMBED, 8)
    assert (request.id, request.model, request.tenant) == ("r1", "spark", "acme")
    assert (request.policy, request.deadline_ms) == (Policy.EDGE_ONLY, 1500)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"),
        ([], "input"),
        ([""], "input"),
        (["a", ""], "input[1]"),
        ([[1], []], "input[1]"),
        ([1, "a"], "input"),
        ([1, [2]], "input"),
        (["a"] * (MAX_INPUTS + 1), "input"),
        ([2**31], "input[0]"),
        ([[1.5]], "input[0][0]"),
        ({"text": "a"}, "input"),
        (None, "input"),
    ],
)
def test_a_bad_input_is_named(given: Any, param: str) -> None:
    """Empty, mixed, too many and foreign inputs are refused with their place."""
    with pytest.raises(InvalidRequest) as caught:
        embeddings.to_infer(embedding_body(input=given), TERMS)
    assert caught.value.param is not None
    assert caught.value.param.partition("[")[0] == param.partition("[")[0]
    if isinstance(given, list) and "" in given and len(given) > 1:
        assert caught.value.param == param


def test_as_many_tokens_as_inputs_and_more_are_one_input() -> None:
    """The limit is on inputs: a list of numbers is one of them."""
    request = embeddings.to_infer(embedding_body(input=[5] * (MAX_INPUTS + 1)), TERMS)
    assert len(request.inputs) == 1


def test_vectors_are_written_as_asked() -> None:
    """Base64 is the frame's bytes, numbers are what these stand for."""
    raw = pack([0.5, -0.25])
    done = completion(vectors=(raw, raw))
    as_text = msgspec.json.decode(
        msgspec.json.encode(embeddings.to_list(done, embedding_body(encoding_format="base64")))
    )
    as_numbers = msgspec.json.decode(
        msgspec.json.encode(embeddings.to_list(done, embedding_body()))
    )
    assert base64.b64decode(as_text["data"][1]["embedding"]) == raw
    assert as_numbers == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]},
            {"object": "embedding", "index": 1, "embedding": [0.5, -0.25]},
        ],
        "model": "spark",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


def test_documents_become_inputs() -> None:
    """Texts and objects with a text are the same."""
    request = rerank.to_infer(rerank_body(), TERMS)
    assert (request.task, request.query) == (Task.RERANK, "q")
    assert request.inputs == ("a", "b", "c")
    assert request.policy is Policy.EDGE_ONLY


def test_the_best_documents_come_first() -> None:
    """Equal scores keep the order of the request; top_n cuts after sorting."""
    done = completion(scores=(0.5, 0.5, 2.0))
    whole = rerank.to_ranking(done, rerank_body())
    cut = rerank.to_ranking(done, rerank_body(top_n=2, return_documents=True))
    assert [(r.index, r.relevance_score) for r in whole.results] == [(2, 2.0), (0, 0.5), (1, 0.5)]
    assert msgspec.json.decode(msgspec.json.encode(cut))["results"] == [
        {"index": 2, "relevance_score": 2.0, "document": {"text": "c"}},
        {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
    ]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": [1]}, "documents[0]"),
        ({"documents": ["a"] * (MAX_INPUTS + 1)}, "documents"),
        ({"top_n": 0}, "top_n"),
    ],
)
def test_a_bad_rerank_field_is_named(fields: dict[str, Any], param: str) -> None:
    """What is wrong with the body is refused with its field."""
    with pytest.raises(InvalidRequest) as caught:
        rerank.to_infer(rerank_body(**fields), TERMS)
    assert str(caught.value.param).startswith(param)
