"""How the training runs: the numbers that, with the text, decide the result."""

from __future__ import annotations

from dataclasses import dataclass

_WARM_UP = 60  # steps up to the full rates
_CONSTANT = 0.4  # share of the steps after which the straight way down to zero begins


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the result."""

    seed: int = 7
    steps: int = 5500
    batch_tokens: int = 4096
    matrix_lr: float = 0.02
    other_lr: float = 0.003

    def rate(self, step: int) -> float:
        """Compute the factor on both rates, between 0 and 1."""
        down = (self.steps - step) / (self.steps * (1 - _CONSTANT))
        return min((step + 1) / _WARM_UP, 1.0, down)
