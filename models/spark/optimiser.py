"""Muon for the matrices inside the blocks, AdamW for everything else.

Muon (Keller Jordan, 2024) replaces the momentum of a matrix by the nearest orthogonal one, found
with a few Newton-Schulz steps. It costs a tenth more arithmetic per step here and needs far fewer
tokens than AdamW alone, which decides what two cores can reach in two hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Muon's published coefficients: steep at zero, flat near one
_NEWTON_SCHULZ_STEPS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """Push all singular values of each matrix in [count, rows, columns] towards one."""
    a, b, c = _QUINTIC
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal. Matrices of one shape are handled together."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure needed
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                updates = orthogonal(torch.stack([self._momentum(w, group) for w in weights]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - 0.02 * group["lr"])
                    weight.add_(update, alpha=-group["lr"] * scale)

    def _momentum(self, weight: nn.Parameter, group: dict[str, float]) -> Tensor:
        """Nesterov momentum of the weight's gradient."""
        if weight.grad is None:
            raise ValueError("every matrix of a block takes part in every step")
        buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        buffer.lerp_(weight.grad, 1 - group["momentum"])
        return weight.grad.lerp(buffer, group["momentum"])


def optimisers(
    model: nn.Module, *, matrix_lr: float, other_lr: float
) -> list[torch.optim.Optimizer]:
    """Both optimisers, each with its share of the model's weights."""
    matrices = [w for n, w in model.named_parameters() if w.dim() == 2 and n.startswith("blocks")]
    ids = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in ids]
    return [
        Muon(matrices, lr=matrix_lr),
        torch.optim.AdamW(others, lr=other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
