"""What the step loop needs of llama.cpp; ``LlamaContext`` is the real one."""

from collections.abc import Sequence as Items
from typing import Protocol

from workers.llama.sampling import Drawing
from workers.llama.sequence import Sampler, Work


class Decoder(Protocol):
    """A model with room for several sequences."""

    num_vocabulary: int
    longest_token: int
    """Bytes of text that one token stands for at most."""

    def tokenize(self, text: str) -> list[int]:
        """Return a prompt's tokens."""
        ...

    def piece(self, token: int) -> bytes:
        """Return the bytes a token stands for."""
        ...

    def is_end(self, token: int) -> bool:
        """Return whether a token ends the generation."""
        ...

    def sampler(self, drawing: Drawing) -> Sampler:
        """Return a new sampler."""
        ...

    def decode(self, plan: Items[Work]) -> list[int]:
        """Compute a step; return the row of logits of each work that samples, in order."""
        ...

    def forget(self, slot: int) -> None:
        """Empty a sequence's part of the KV cache."""
        ...
