"""A sampler that may only draw what a constraint allows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workers.llama.sequence import Constraint, Sampler

Logits = Callable[[int], NDArray[np.float32]]
"""Returns a row of the last step's logits, ``[n_vocab]``: a view of llama.cpp's own memory."""


class Masked:
    """Wraps another sampler; only sequences with a constraint pay for the view and the mask."""

    def __init__(self, inner: Sampler, constraint: Constraint, logits: Logits) -> None:
        self._inner = inner
        self._constraint = constraint
        self._logits = logits

    def sample(self, row: int) -> int:
        """Draw the next token out of those that are allowed."""
        self._constraint.mask(self._logits(row))
        token = self._inner.sample(row)
        self._constraint.accept(token)
        return token

    def replay(self, token: int) -> None:
        """Take over a token that was sampled elsewhere."""
        self._inner.replay(token)
        self._constraint.accept(token)

    def close(self) -> None:
        """Free what it holds."""
        self._inner.close()
