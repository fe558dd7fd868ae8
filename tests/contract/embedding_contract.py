"""What every engine that embeds or ranks promises; each case asks for the ability it needs.

A test class per engine inherits ``EmbeddingContract`` and says how to start one.
"""

import math
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import anyio
import pytest

from mesh.errors import ContextLengthExceeded, InvalidRequest
from mesh.vectors import unpack
from schemas.inference import Ability, Dispatch, InferRequest, Task
from tests.contract.engine_contract import Generation, generate
from workers.engine import Engine

TEXTS = ("one", "two words", "the third has more words", "one")


def embedding(model: str, *inputs: str | tuple[int, ...], **changes: Any) -> Dispatch:
    """Return an attempt at embedding inputs, with 20 seconds left."""
    return _dispatch(InferRequest(model=model, task=Task.EMBED, inputs=inputs, **changes))


def ranking(model: str, query: str, *documents: str) -> Dispatch:
    """Return an attempt at ranking documents."""
    return _dispatch(
        InferRequest(model=model, task=Task.RERANK, query=query, inputs=tuple(documents))
    )


def vectors_of(generation: Generation) -> list[list[float]]:
    """Return the vectors of all pieces, which must come in the order of the inputs."""
    rows: list[list[float]] = []
    for piece in generation.pieces:
        assert piece.index == len(rows)
        rows += [unpack(raw) for raw in piece.vectors]
    return rows


def scores_of(generation: Generation) -> list[float]:
    """Return the scores of all pieces."""
    return [score for piece in generation.pieces for score in piece.scores]


def _dispatch(request: InferRequest) -> Dispatch:
    return Dispatch(attempt="a", router="r", remaining_ms=20_000, request=request)


class EmbeddingContract(ABC):
    """The suite; ``running`` starts an engine with two slots that is ready."""

    model: ClassVar[str]
    abilities: ClassVar[frozenset[Ability]]
    checks_inputs: ClassVar[bool] = True
    """Whether the engine itself looks at the inputs, or leaves it to somebody else."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[Engine]:
        """Run an engine while the context is open."""

    async def test_every_input_has_its_vector(self) -> None:
        """Vectors come in the inputs' order, of length 1, equal for equal inputs, and counted."""
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            whole = await generate(engine, embedding(self.model, *TEXTS))
            assert Ability.EMBEDDINGS in engine.status().abilities
        vectors = vectors_of(whole)
        assert len(vectors) == len(TEXTS)
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1] * 4, abs=1e-5)
        assert vectors[0] == pytest.approx(vectors[3], abs=1e-5)
        assert vectors[0] != pytest.approx(vectors[1], abs=1e-2)
        assert whole.done.reason == "stop"
        assert whole.done.usage.prompt_tokens > 0
        assert whole.done.usage.completion_tokens == 0

    async def test_company_does_not_change_a_vector(self) -> None:
        """An input alone, among others, and in another order has the same vector."""
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            together = vectors_of(await generate(engine, embedding(self.model, *TEXTS)))
            turned = vectors_of(await generate(engine, embedding(self.model, *TEXTS[::-1])))
            alone = [await generate(engine, embedding(self.model, text)) for text in TEXTS]
        for vector, other, single in zip(together, turned[::-1], alone, strict=True):
            assert vector == pytest.approx(other, abs=1e-5)
            assert vector == pytest.approx(vectors_of(single)[0], abs=1e-5)

    async def test_attempts_at_once_do_not_disturb_each_other(self) -> None:
        """Two attempts side by side give what each gives alone."""
        works = [embedding(self.model, *TEXTS), embedding(self.model, "x", "y")]
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            alone = [vectors_of(await generate(engine, work)) for work in works]
            together = [Generation() for _ in works]
            async with anyio.create_task_group() as tasks:
                for generation, work in zip(together, works, strict=True):
                    tasks.start_soon(generation.run, engine, work)
        for vectors, generation in zip(alone, together, strict=True):
            for vector, other in zip(vectors, vectors_of(generation), strict=True):
                assert vector == pytest.approx(other, abs=1e-5)

    async def test_a_shorter_vector_is_the_beginning_of_the_whole_one(self) -> None:
        """With dimensions the first components are kept, at length 1 again."""
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            whole = vectors_of(await generate(engine, embedding(self.model, "text")))[0]
            short = vectors_of(await generate(engine, embedding(self.model, "text", dimensions=6)))[
                0
            ]
        length = math.hypot(*whole[:6])
        assert short == pytest.approx([x / length for x in whole[:6]], abs=1e-5)

    async def test_a_bad_input_is_named(self) -> None:
        """An empty input, one beyond the context and too many dimensions name their field."""
        if not self.checks_inputs:
            pytest.skip("this engine passes inputs on unseen")
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            long = "w " * (engine.status().context + 1)
            with pytest.raises(InvalidRequest) as empty:
                await generate(engine, embedding(self.model, "good", ""))
            with pytest.raises(ContextLengthExceeded) as too_long:
                await generate(engine, embedding(self.model, "good", "good", long))
            with pytest.raises(InvalidRequest) as too_wide:
                await generate(engine, embedding(self.model, "good", dimensions=100_000))
        assert empty.value.param == "inputs[1]"
        assert too_long.value.param == "inputs[2]"
        assert too_wide.value.param == "dimensions"

    async def test_tokens_are_taken_as_they_are(self) -> None:
        """An input of tokens has a vector, and as many prompt tokens as were given."""
        self._need(Ability.EMBEDDINGS)
        async with self.running() as engine:
            given = await generate(engine, embedding(self.model, (2, 9, 3), (2, 9, 10, 3)))
        assert len(vectors_of(given)) == 2
        if self.checks_inputs:
            assert given.done.usage.prompt_tokens == 7

    async def test_every_document_has_its_score(self) -> None:
        """Scores come in the documents' order, the same in any company."""
        documents = ("red green", "nothing", "red")
        self._need(Ability.RERANK)
        async with self.running() as engine:
            whole = await generate(engine, ranking(self.model, "red green", *documents))
            turned = await generate(engine, ranking(self.model, "red green", *documents[::-1]))
            assert Ability.RERANK in engine.status().abilities
        scores = scores_of(whole)
        assert len(set(scores)) == 3
        assert scores == pytest.approx(scores_of(turned)[::-1], abs=1e-5)
        assert whole.done.usage.prompt_tokens > 0

    def _need(self, ability: Ability) -> None:
        if ability not in self.abilities:
            pytest.skip(f"this engine has no {ability}")
