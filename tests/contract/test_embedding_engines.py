"""The engines that embed and rank keep the contract; each says what it is not made for."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import anyio
import gguf
import pytest

from mesh.errors import BudgetExhausted, DeadlineExceeded, Unsupported, UpstreamMalformed
from schemas.inference import Ability, Dispatch
from tests.contract.embedding_contract import (
    EmbeddingContract,
    embedding,
    ranking,
    vectors_of,
)
from tests.contract.engine_contract import Generation, dispatch, generate
from tests.support.faulty_upstream import faulty_upstream
from tests.support.llama import running_llama
from tests.support.tiny_embedder import (
    EmbedderShape,
    write_tiny_embedder,
)
from tests.support.upstream import engine_on
from workers.budget import BudgetSettings
from workers.engine import Engine
from workers.scripted import ScriptedEngine, ScriptedSettings
from workers.upstream.client import Upstream
from workers.upstream.engine import UpstreamEngine
from workers.upstream.settings import Dialect, UpstreamSettings

MODEL = "tiny"
SHAPE = EmbedderShape()
BOTH = frozenset({Ability.EMBEDDINGS, Ability.RERANK})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models of this module lie."""
    return tmp_path_factory.mktemp("embedders")


def model_of(folder: Path, pooling: gguf.PoolingType | None, shape: EmbedderShape = SHAPE) -> Path:
    """Write a model with this pooling, unless it is there."""
    place = folder / f"{pooling}-{shape.context}"
    place.mkdir(exist_ok=True)
    path = place / f"{MODEL}.gguf"
    return path if path.exists() else write_tiny_embedder(path, pooling, shape)


class TestScriptedEngine(EmbeddingContract):
    """The contract on hashes."""

    model = "scripted"
    abilities = BOTH

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return _scripted()


@asynccontextmanager
async def _scripted() -> AsyncIterator[Engine]:
    yield ScriptedEngine(ScriptedSettings(slots=2))


class TestUpstreamEngine(EmbeddingContract):
    """The contract on vectors that came over HTTP as base64."""

    model = "spark"
    abilities = BOTH
    checks_inputs = False
    knows_base64: ClassVar[bool] = True

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return _upstream(knows_base64=self.knows_base64)


class TestUpstreamWithNumbers(TestUpstreamEngine):
    """The same from an upstream that sends numbers whatever it is asked for."""

    knows_base64 = False


@asynccontextmanager
async def _upstream(*, knows_base64: bool) -> AsyncIterator[Engine]:
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.knows_base64 = knows_base64
        yield engine


class TestLlamaEmbedder(EmbeddingContract):
    """The contract on a BERT in llama.cpp, pooled by the mean."""

    model = MODEL
    abilities = frozenset({Ability.EMBEDDINGS})
    pooling: ClassVar[gguf.PoolingType | None] = gguf.PoolingType.MEAN

    @pytest.fixture(autouse=True)
    def _model_file(self, folder: Path) -> None:
        self._path = model_of(folder, self.pooling)

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return running_llama(self._path)


class TestLlamaRanker(TestLlamaEmbedder):
    """The contract on a BERT with a rank head."""

    abilities = frozenset({Ability.RERANK})
    pooling = gguf.PoolingType.RANK


async def test_models_say_what_they_are_not_made_for(folder: Path, tiny_model: Path) -> None:
    """An embedding model does not chat, a text model does not embed, and abilities tell it."""
    async with running_llama(model_of(folder, gguf.PoolingType.MEAN)) as embedder:
        with pytest.raises(Unsupported) as chat:
            await generate(embedder, dispatch(MODEL))
        with pytest.raises(Unsupported) as rank:
            await generate(embedder, ranking(MODEL, "a", "b"))
        assert embedder.status().abilities == (Ability.EMBEDDINGS,)
    async with running_llama(tiny_model) as writer:
        with pytest.raises(Unsupported, match="cannot embed") as embed:
            await generate(writer, embedding(MODEL, "text"))
        assert Ability.EMBEDDINGS not in writer.status().abilities
    assert {chat.value.param, rank.value.param, embed.value.param} == {"model"}


async def test_embedding_ends_with_its_deadline_or_its_caller(folder: Path) -> None:
    """The deadline holds between batches; a cancelled attempt leaves its slot at once."""
    shape = EmbedderShape(context=600, width=256, layers=6, feed_forward=1024)
    many = tuple("a" * 590 for _ in range(400))
    async with running_llama(model_of(folder, gguf.PoolingType.CLS, shape), slots=1) as engine:
        work = embedding(MODEL, *many)
        hurried = Dispatch(attempt="a", router="r", remaining_ms=50, request=work.request)
        with pytest.raises(DeadlineExceeded):
            await generate(engine, hurried)
        async with anyio.create_task_group() as tasks:
            generation = Generation()
            tasks.start_soon(generation.run, engine, work)
            await generation.started.wait()
            tasks.cancel_scope.cancel()
        after = await generate(engine, embedding(MODEL, "text"))
    assert len(vectors_of(after)) == 1


async def test_an_upstream_without_the_path_is_not_taken_for_broken() -> None:
    """What an upstream does not offer is refused, and chat goes on there."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.lacks = frozenset({"rerank"})
        for _ in range(20):
            with pytest.raises(Unsupported) as caught:
                await generate(engine, ranking("spark", "a", "b"))
        assert caught.value.param == "model"
        assert (await generate(engine, dispatch("spark"))).text


async def test_an_upstreams_answer_must_be_whole() -> None:
    """An answer with an input missing, or twice, is malformed."""
    for rows in ([], [{"index": 1, "relevance_score": 1.0}], [{"index": 0}]):
        async with _answering({"results": rows}) as engine:
            with pytest.raises(UpstreamMalformed):
                await generate(engine, ranking("spark", "a", "b"))


@asynccontextmanager
async def _answering(answer: dict[str, object]) -> AsyncIterator[UpstreamEngine]:
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.whole_answer = answer
        yield engine


async def test_embeddings_are_paid_for(tmp_path: Path) -> None:
    """The budget is reserved before the call and settled by the tokens that were told."""
    budget = BudgetSettings(path=tmp_path / "spent.json", usd_per_day=0.02, usd_per_million_in=50)
    async with faulty_upstream() as upstream, engine_on(upstream, budget=budget) as engine:
        await generate(engine, embedding("spark", "one"))
        with pytest.raises(BudgetExhausted):
            await generate(engine, embedding("spark", "one " * 1000))
        assert len(upstream.bodies) == 1


def test_what_upstreams_cannot_do_is_not_advertised() -> None:
    """No upstream goes on from a raw prompt, and OpenAI itself ranks nothing."""
    local = Upstream(UpstreamSettings(url="http://127.0.0.1:1/v1"))
    openai = Upstream(UpstreamSettings(url="http://127.0.0.1:1/v1", dialect=Dialect.OPENAI))
    assert Ability.PROMPT not in local.abilities
    assert Ability.RERANK in local.abilities
    assert Ability.RERANK not in openai.abilities
    assert Ability.EMBEDDINGS in openai.abilities
