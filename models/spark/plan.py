"""How the training runs: the numbers that, with the text, decide the result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

# Step and factor on the rates, straight in between. The second rise, once the mix has changed for
# the last time, leaves a place that the first fall had settled in too early.
_RATES = ((0, 0.0), (60, 1.0), (805, 1.0), (1600, 0.159), (1630, 0.4), (2050, 0.0))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the result."""

    seed: int = 7
    steps: int = 2050
    batch_tokens: int = 4096
    matrix_lr: float = 0.02
    other_lr: float = 0.003

    def rate(self, step: int) -> float:
        """Compute the factor on both rates, between 0 and 1."""
        for (start, low), (end, high) in pairwise(_RATES):
            if step < end:
                return low + (high - low) * (step - start + 1) / (end - start)
        return 0.0
