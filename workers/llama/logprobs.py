"""How likely the model found a token, and what it would have said instead.

The figures are of the model's own distribution: before penalties, biases, masks and temperature.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workers.llama.masking import Logits
from workers.llama.sequence import Sampler
from workers.llama.voice import Item

LEAST = -9999.0
"""Stands for minus infinity, which JSON does not have; OpenAI's own value."""


class Reporting:
    """Wraps a sampler and leaves one item per token in ``items``, in the order of the tokens."""

    def __init__(
        self, inner: Sampler, logits: Logits, piece: Callable[[int], bytes], count: int
    ) -> None:
        """``count``: alternatives per token."""
        self._inner = inner
        self._logits = logits
        self._piece = piece
        self._count = count
        self.items: deque[Item] = deque()

    def sample(self, row: int) -> int:
        """Draw the next token, and report it."""
        # What samples masks the row in place: all but the drawn token is read before that.
        raw = self._logits(row)
        scale = log_sum(raw)
        top = alternatives(raw, scale, self._piece, self._count)
        token = self._inner.sample(row)
        item = entry(self._piece(token), float(raw[token]) - scale)
        self.items.append({**item, "top_logprobs": top})
        return token

    def replay(self, token: int) -> None:
        """Take over a token that was sampled, reported and shown elsewhere."""
        self._inner.replay(token)
        self.items.append({})

    def close(self) -> None:
        """Free what it holds."""
        self._inner.close()


def alternatives(
    logits: NDArray[np.float32], scale: float, piece: Callable[[int], bytes], count: int
) -> list[Item]:
    """Return the entries of the most likely tokens; ``scale``: the row's ``log_sum``."""
    best = most_likely(logits, count)
    return [entry(piece(int(token)), float(logits[token]) - scale) for token in best]


def entry(piece: bytes, logprob: float | None) -> Item:
    """Return what is told of a token; ``None``: nothing is known of it."""
    return {
        "token": piece.decode(errors="replace"),
        "logprob": None if logprob is None else max(logprob, LEAST),
        "bytes": list(piece),
    }


def log_sum(logits: NDArray[np.float32]) -> float:
    """Return the logarithm of the sum of exponentials: a logit minus that is a log-probability."""
    most = logits.max()
    return float(most) + float(np.log(np.exp(logits - most).sum(dtype=np.float64)))


def most_likely(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the tokens of the ``count`` highest logits, the highest first."""
    if not count:
        return np.empty(0, np.intp)
    top = np.argpartition(logits, -count)[-count:]
    return top[np.argsort(-logits[top], kind="stable")]
