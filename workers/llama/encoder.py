"""What the embedding loop needs of llama.cpp; ``EmbeddingContext`` is the real one."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[int]


class Encoder(Protocol):
    """A model that makes one row of numbers of each input."""

    num_vocabulary: int
    width: int
    """Numbers per row: the components of a vector, or the classes of a rank head."""
    longest_token: int | None
    """Bytes of text that one token stands for at most; ``None`` where text may shrink anyhow."""

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of an input, with those that the model wants around them."""
        ...

    def pair(self, query: str, document: str) -> list[int]:
        """Return the tokens of a question and a text that may answer it, as the model wants it."""
        ...

    def encode(self, inputs: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return one row per input, of shape ``[len(inputs), width]``."""
        ...
