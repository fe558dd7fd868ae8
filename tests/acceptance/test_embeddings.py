"""Embeddings and rerank from end to end: the unmodified OpenAI client, raw HTTP, real models."""

import base64
import math
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import gguf
import openai
import pytest

import mesh
from mesh.accounts import Role
from mesh.errors import EngineCrashed
from schemas.fleet import ModelState, Tier
from schemas.inference import Dispatch, InferRequest, Task
from tests.support.gateway import gateway_of, running_mesh
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, router_of, scripted_worker
from tests.support.requests import complete
from tests.support.tiny_embedder import Reference, input_tokens, unit, write_tiny_embedder
from tests.support.tiny_model import write_tiny_model
from tests.support.wait import until
from workers.engine import Emit, Finish, Piece
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedEngine
from workers.scripted_inputs import WIDTH, vector

TEXTS = ["hello world", "the quick brown fox", "abc"]


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open the client that applications use."""
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=20) as client:
        yield client


@asynccontextmanager
async def scripted_client(folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client of a mesh with one scripted worker."""
    async with running_mesh(folder) as running, client_of(running.address.url) as client:
        yield client


@asynccontextmanager
async def llama_url(folder: Path, *models: Path) -> AsyncIterator[str]:
    """Run a mesh whose only worker has real models; give the address of its gateway."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder))
        engines = [LlamaEngine(llama_settings(model)) for model in models]
        await stack.enter_async_context(agent_of(broker, *engines))
        router, fleet = await stack.enter_async_context(
            router_of(broker, *(model.stem for model in models))
        )
        address = await stack.enter_async_context(gateway_of(router, fleet))
        await until(lambda: all(e.status().state is ModelState.READY for e in engines), within=30)
        await until(lambda: all(fleet.group(m.stem, Tier.EDGE).open for m in models))
        yield address.url


async def post(url: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.json()


def numbers(raw: bytes) -> list[float]:
    return list(array("f", raw))


async def test_a_list_of_texts_as_the_client_asks_by_default(tmp_path: Path) -> None:
    """Every text has its unit vector at its index; the client's default is base64."""
    async with scripted_client(tmp_path) as client:
        answer = await client.embeddings.create(model="scripted", input=TEXTS)

    assert [item.index for item in answer.data] == [0, 1, 2]
    assert [item.embedding for item in answer.data] == [numbers(vector(text)) for text in TEXTS]
    assert math.hypot(*answer.data[0].embedding) == pytest.approx(1, abs=1e-6)
    assert answer.model == "scripted"
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 7)


async def test_numbers_and_bytes_are_the_same_vector(tmp_path: Path) -> None:
    """With encoding_format float the same numbers come as JSON numbers."""
    async with running_mesh(tmp_path) as running:
        url = f"{running.address.url}/embeddings"
        body = {"model": "scripted", "input": "hello"}
        _, as_numbers = await post(url, body)
        _, as_bytes = await post(url, body | {"encoding_format": "base64"})

    raw = base64.b64decode(as_bytes["data"][0]["embedding"])
    assert as_numbers["data"][0]["embedding"] == numbers(raw) == numbers(vector("hello"))
    assert as_numbers["object"] == "list"
    assert as_numbers["data"][0]["object"] == "embedding"


async def test_tokens_and_dimensions(tmp_path: Path) -> None:
    """One list of tokens is one input, several are several; vectors can be shortened."""
    async with scripted_client(tmp_path) as client:
        one = await client.embeddings.create(model="scripted", input=[1, 2, 3])
        two = await client.embeddings.create(model="scripted", input=[[1, 2, 3], [4]], dimensions=8)

    assert [item.embedding for item in one.data] == [numbers(vector((1, 2, 3)))]
    assert [len(item.embedding) for item in two.data] == [8, 8]
    assert math.hypot(*two.data[1].embedding) == pytest.approx(1, abs=1e-6)
    assert one.usage.prompt_tokens == 3


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": []}, "invalid_request", "input"),
        ({"input": ""}, "invalid_request", "input"),
        ({"input": ["good", ""]}, "invalid_request", "input[1]"),
        ({"input": [[1], []]}, "invalid_request", "input[1]"),
        ({"input": ["mixed", 1]}, "invalid_request", "input"),
        ({"input": ["x"] * 2049}, "invalid_request", "input"),
        ({"input": [-1]}, "invalid_request", "input[0]"),
        ({"input": "x", "dimensions": 0}, "invalid_request", "dimensions"),
        ({"input": "x", "dimensions": WIDTH + 1}, "invalid_request", "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "invalid_request", "encoding_format"),
        ({"input": ["ok", "word " * 9000]}, "context_length_exceeded", "input[1]"),
        ({}, "invalid_request", "input"),
    ],
)
async def test_errors_name_the_field(
    tmp_path: Path, body: dict[str, Any], code: str, param: str
) -> None:
    """What is wrong with a request is a 400 with code and field."""
    async with running_mesh(tmp_path) as running:
        url = f"{running.address.url}/embeddings"
        status, answer = await post(url, {"model": "scripted"} | body)

    assert status == 400
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)


async def test_a_request_that_must_stay_on_the_edge(tmp_path: Path) -> None:
    """Policy, route headers and the metrics are those of any other request."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(tmp_path))
        await stack.enter_async_context(scripted_worker(broker, "c1", Tier.CLOUD))
        router, fleet = await stack.enter_async_context(router_of(broker, "scripted"))
        address = await stack.enter_async_context(gateway_of(router, fleet))
        client = await stack.enter_async_context(client_of(address.url))
        create = client.embeddings.with_raw_response.create
        await until(lambda: fleet.settled)
        raw = await create(model="scripted", input="hi")
        with pytest.raises(openai.NotFoundError):
            await create(model="scripted", input="hi", extra_headers={"x-mesh-policy": "edge-only"})
        async with (
            aiohttp.ClientSession() as session,
            session.get(address.url.removesuffix("/v1") + "/metrics") as response,
        ):
            metrics = await response.text()

    assert (raw.headers["x-mesh-tier"], raw.headers["x-mesh-worker"]) == ("cloud", "c1")
    assert raw.headers["x-mesh-fallback"] == "no_model"
    assert 'mesh_requests_total{model="scripted",outcome="ok",tier="cloud"} 1.0' in metrics
    assert 'outcome="model_not_found"' in metrics


async def test_2048_inputs_come_back_in_order(tmp_path: Path) -> None:
    """The most inputs that OpenAI allows are answered, each at its index."""
    texts = [f"text {number}" for number in range(2048)]
    async with scripted_client(tmp_path) as client:
        answer = await client.embeddings.create(model="scripted", input=texts)

    assert [item.embedding[0] for item in answer.data] == [
        numbers(vector(text))[0] for text in texts
    ]


async def test_what_a_lost_worker_had_computed_is_not_doubled(tmp_path: Path) -> None:
    """Another worker starts anew where one died half-way, and every input has one vector."""
    broken = _DiesHalfWay()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(tmp_path))
        await stack.enter_async_context(agent_of(broker, broken, name="w1"))
        await stack.enter_async_context(scripted_worker(broker, "w2"))
        router, _ = await stack.enter_async_context(router_of(broker, "scripted", workers=2))
        while not broken.died:
            request = InferRequest(model="scripted", task=Task.EMBED, inputs=tuple(TEXTS))
            answer = await complete(router, request)
            assert answer.vectors == tuple(vector(text) for text in TEXTS)
            assert answer.worker == "w2"


class _DiesHalfWay(ScriptedEngine):
    """An engine that crashes after a first vector."""

    died = False

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        emit(Piece(vectors=(vector("something else"),)))
        self.died = True
        raise EngineCrashed


async def test_documents_are_ranked(tmp_path: Path) -> None:
    """The best come first with their place in the request, as many as asked for."""
    documents = ["nothing", {"text": "red green"}, "red"]
    body = {"model": "scripted", "query": "red green", "documents": documents}
    async with running_mesh(tmp_path) as running:
        url = f"{running.address.url}/rerank"
        _, ranking = await post(url, body)
        _, best = await post(url, body | {"top_n": 1, "return_documents": True})
        status, problem = await post(url, body | {"documents": []})

    found = [(result["index"], result["relevance_score"]) for result in ranking["results"]]
    assert found == [(1, 1.0), (2, 0.5), (0, 0.0)]
    assert "document" not in ranking["results"][0]
    assert ranking["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert best["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "red green"}}
    ]
    assert (status, problem["error"]["param"]) == (400, "documents")


async def test_the_python_client_embeds_and_reranks(tmp_path: Path) -> None:
    """A backend service gets lists of numbers in the order of what it sent."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        mesh.connect(broker.url, creds=broker.creds(Role.CLIENT)) as m,
    ):
        vectors = await m.embed("scripted", ["one", [1, 2]], policy="edge-only")
        short = await m.embed("scripted", ["one"], dimensions=4, deadline=10)
        scores = await m.rerank("scripted", "a b", ["a", "c", "b a"])
        with pytest.raises(mesh.MeshError) as caught:
            await m.embed("scripted", ["one", ""])

    assert vectors == [numbers(vector("one")), numbers(vector((1, 2)))]
    assert len(short[0]) == 4
    assert scores == [0.5, 0.0, 1.0]
    assert caught.value.param == "inputs[1]"


async def test_a_real_model_embeds(tmp_path: Path) -> None:
    """A GGUF with a BERT inside gives the vectors that its network computes, at length 1."""
    model = write_tiny_embedder(tmp_path / "tiny-bert.gguf")
    async with llama_url(tmp_path / "broker", model) as url, client_of(url) as client:
        answer = await client.embeddings.create(model="tiny-bert", input=TEXTS)
        by_tokens = await client.embeddings.create(
            model="tiny-bert", input=[input_tokens(text) for text in TEXTS]
        )
        short = await client.embeddings.create(model="tiny-bert", input=TEXTS[0], dimensions=5)
        with pytest.raises(openai.BadRequestError) as long:
            await client.embeddings.create(model="tiny-bert", input=["ok", "a" * 80])
        with pytest.raises(openai.BadRequestError) as wide:
            await client.embeddings.create(model="tiny-bert", input="ok", dimensions=33)
        with pytest.raises(openai.BadRequestError) as foreign:
            await client.embeddings.create(model="tiny-bert", input=[100_000])
        with pytest.raises(openai.BadRequestError) as chat:
            await client.chat.completions.create(
                model="tiny-bert", messages=[{"role": "user", "content": "hi"}]
            )

    reference = Reference()
    for text, item in zip(TEXTS, answer.data, strict=True):
        expected = unit(reference.outputs(input_tokens(text)).mean(0))
        assert item.embedding == pytest.approx(expected.tolist(), abs=1e-3)
    for item, again in zip(answer.data, by_tokens.data, strict=True):
        assert item.embedding == pytest.approx(again.embedding, abs=1e-5)
    head = answer.data[0].embedding[:5]
    assert short.data[0].embedding == pytest.approx([x / math.hypot(*head) for x in head], abs=1e-5)
    assert answer.usage.prompt_tokens == sum(len(input_tokens(text)) for text in TEXTS)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "input[1]")
    assert (wide.value.code, wide.value.param) == ("invalid_request", "dimensions")
    assert (foreign.value.code, foreign.value.param) == ("invalid_request", "input[0]")
    assert (chat.value.code, chat.value.param) == ("unsupported", "model")


async def test_a_real_model_ranks_and_a_text_model_does_neither(tmp_path: Path) -> None:
    """A GGUF with a rank head gives its scores; text models say what they are not made for."""
    ranker = write_tiny_embedder(tmp_path / "ranker.gguf", gguf.PoolingType.RANK)
    writer = write_tiny_model(tmp_path / "writer.gguf")
    body = {"query": "hello", "documents": TEXTS}
    async with llama_url(tmp_path / "broker", ranker, writer) as url:
        _, ranking = await post(f"{url}/rerank", body | {"model": "ranker"})
        refused = [
            await post(f"{url}/rerank", body | {"model": "writer"}),
            await post(f"{url}/embeddings", {"model": "writer", "input": "hello"}),
            await post(f"{url}/embeddings", {"model": "ranker", "input": "hello"}),
        ]

    reference = Reference(is_ranker=True)
    query = input_tokens("hello")
    scores = [reference.score([*query, *input_tokens(text)[1:]]) for text in TEXTS]
    found = {result["index"]: result["relevance_score"] for result in ranking["results"]}
    assert [found[index] for index in range(3)] == pytest.approx(scores, abs=1e-3)
    assert list(found) == sorted(range(3), key=lambda index: -scores[index])
    assert [status for status, _ in refused] == [400, 400, 400]
    assert {answer["error"]["param"] for _, answer in refused} == {"model"}
    assert {answer["error"]["code"] for _, answer in refused} == {"unsupported"}
