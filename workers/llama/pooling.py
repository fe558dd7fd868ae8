"""Whether a file holds an embedding model, and how its tokens become one vector: by the header."""

from enum import IntEnum

from schemas.inference import Ability
from workers.llama.gguf_header import BadModelFile, Header


class Pooling(IntEnum):
    """What an embedding model makes of its tokens' outputs; numbered as in llama.cpp and GGUF."""

    NONE = 0
    MEAN = 1
    CLS = 2
    """The first token's output."""
    LAST = 3
    RANK = 4
    """A classifier's score instead of a vector."""


ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
"""Architectures that cannot generate text, whatever their files say of pooling."""


def pooling_of(header: Header) -> Pooling | None:
    """Return how an embedding model pools, ``None`` for a model that generates text.

    An encoder whose file does not say is pooled by the mean, as sentence-transformers do. Raises
    ``BadModelFile`` for a pooling that nobody knows.
    """
    number = header.number("pooling_type")
    try:
        pooling = Pooling(number)
    except ValueError:
        msg = f"the file asks for the unknown pooling type {number}"
        raise BadModelFile(msg) from None
    if pooling is not Pooling.NONE:
        return pooling
    return Pooling.MEAN if header.architecture in ENCODERS else None


def abilities(pooling: Pooling) -> tuple[str, ...]:
    """Return what an embedding model can be asked for: vectors or scores, never text."""
    return ((Ability.RERANK if pooling is Pooling.RANK else Ability.EMBEDDINGS).value,)
