"""What the step loop needs of llama.cpp; ``LlamaContext`` is the real one."""

from collections.abc import Sequence as Items
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.llama.cache import Reuse, Store
from workers.llama.infill import Infill
from workers.llama.sampling import Drawing
from workers.llama.sequence import Sampler, Work


class Decoder(Store, Protocol):
    """A model with room for several sequences."""

    num_vocabulary: int
    longest_token: int
    """Bytes of text that one token stands for at most."""
    max_rows: int
    """Rows of logits that one step can give."""
    ends: frozenset[int]
    """Tokens that end a generation."""
    infill: Infill | None
    """How a gap is laid out, ``None`` for a model that was not trained to fill any."""

    def tokenize(self, text: str) -> list[int]:
        """Return a prompt's tokens."""
        ...

    def words(self, text: str) -> list[int]:
        """Return the tokens of a text that names no control token, whatever stands in it."""
        ...

    def piece(self, token: int) -> bytes:
        """Return the bytes a token stands for: nothing for control tokens.

        Those that ``Dialect.visible_tokens`` names stand for their text all the same: a reader
        must see where a tool call or a thought begins.
        """
        ...

    def sampler(self, drawing: Drawing) -> Sampler:
        """Return a new sampler."""
        ...

    def examine(self, slot: int, length: int) -> Reuse:
        """Return what can be done with what the cache holds of a sequence."""
        ...

    def decode(self, plan: Items[Work], idle: Items[int] = ()) -> list[int]:
        """Compute a step; return for each work its first row of logits (-1: it has none).

        idle: empty streams that are computed along, for ``Grain``.
        """
        ...

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return a row of the last step's logits, ``[n_vocab]``, to be read or changed in place."""
        ...
