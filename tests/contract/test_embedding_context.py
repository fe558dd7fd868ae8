"""The numbers that llama.cpp computes for embedding models, against the same network in numpy."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.tiny_embedder import (
    EmbedderShape,
    Reference,
    input_tokens,
    unit,
    write_tiny_embedder,
)
from tests.support.tiny_model import write_tiny_model
from workers.llama.embedding_context import EmbeddingContext, EncoderSettings
from workers.llama.embedding_fit import BATCH_INPUTS, capacity_for
from workers.llama.gguf_header import read_header
from workers.llama.pooling import Pooling, pooling_of

ROUNDING = 5e-5
"""ggml looks GELU up in a table of 16-bit floats: a sum in another order may hit its neighbour."""
TEXTS = ("hello world", "a", "the quick brown fox jumps")


def opened(path: Path, context: int = 64) -> EmbeddingContext:
    pooling = pooling_of(read_header(path))
    assert pooling is not None
    settings = EncoderSettings(
        path=str(path),
        capacity=capacity_for(context),
        sequences=BATCH_INPUTS,
        threads=1,
        gpu_layers=0,
        pooling=pooling,
    )
    return EmbeddingContext(settings, lambda _: True)


@pytest.mark.parametrize(
    "pooling", [gguf.PoolingType.MEAN, gguf.PoolingType.CLS, gguf.PoolingType.LAST, None]
)
def test_rows_are_those_of_the_network(tmp_path: Path, pooling: gguf.PoolingType | None) -> None:
    """Each way to pool gives what numpy gives; an encoder that names none is pooled by the mean."""
    context = opened(write_tiny_embedder(tmp_path / "m.gguf", pooling))
    rows = context.encode([context.tokenize(text) for text in TEXTS])
    for text, row in zip(TEXTS, rows, strict=True):
        assert context.tokenize(text) == input_tokens(text)
        outputs = Reference().outputs(input_tokens(text))
        pooled = {gguf.PoolingType.CLS: outputs[0], gguf.PoolingType.LAST: outputs[-1]}
        expected = outputs.mean(0) if pooling is None else pooled.get(pooling, outputs.mean(0))
        np.testing.assert_allclose(row, expected, atol=5e-3)


def test_a_score_is_the_heads_on_the_pair(tmp_path: Path) -> None:
    """Query and document share a sequence, with the special tokens that BERT wants."""
    context = opened(write_tiny_embedder(tmp_path / "m.gguf", gguf.PoolingType.RANK))
    pairs = [context.pair("what", text) for text in ("this is it", "", "what [SEP] what")]
    assert pairs[0] == [*input_tokens("what"), *input_tokens("this is it")[1:]]
    assert pairs[2].count(input_tokens("")[-1]) == 2, "a document cannot end the query"
    reference = Reference(is_ranker=True)
    np.testing.assert_allclose(
        context.encode(pairs)[:, 0], [reference.score(pair) for pair in pairs], atol=5e-3
    )


def test_company_does_not_change_a_row(tmp_path: Path) -> None:
    """A full batch gives what each input gives alone, in every order, up to the whole context."""
    shape = EmbedderShape(context=600)
    context = opened(write_tiny_embedder(tmp_path / "m.gguf", shape=shape), context=600)
    inputs = [[2, *[9 + n % 20] * (n % 9), 3] for n in range(BATCH_INPUTS)]
    together = _units(context.encode(inputs))
    np.testing.assert_allclose(_units(context.encode(inputs[::-1]))[::-1], together, atol=ROUNDING)
    alone = _units(np.concatenate([context.encode([tokens]) for tokens in inputs]))
    np.testing.assert_allclose(alone, together, atol=ROUNDING)
    assert np.isfinite(context.encode([[9] * 600])).all()


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([unit(row) for row in rows])


def test_a_text_generator_that_pools_forgets_each_batch(tmp_path: Path) -> None:
    """A decoder's KV cache does not carry one batch into the next; the last token counts."""
    path = write_tiny_model(tmp_path / "m.gguf", pooling=gguf.PoolingType.LAST)
    assert pooling_of(read_header(path)) is Pooling.LAST
    context = opened(path, context=1024)
    texts = [context.tokenize(text) for text in ("abc", "abd", "a longer text than the others")]
    together = context.encode(texts)
    for tokens, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(context.encode([tokens])[0], row, atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-2)
    assert len(context.encode([[97] * 1024])) == 1
