"""Training from scratch on a CPU: constant rates, then a straight way down to zero.

The constant part does not depend on how long the whole run is, so a run can be stopped anywhere,
exported, and taken up again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  # the name every PyTorch text uses
from tokenizers import Tokenizer

from models.spark.batches import Batch, batches
from models.spark.model import Shape, Spark
from models.spark.optimiser import optimisers
from models.spark.plan import Plan


class Trainer:
    """A model, its optimisers and how far they have come."""

    def __init__(self, plan: Plan, shape: Shape, folder: Path, *, compiled: bool) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.step = 0
        self.num_tokens = 0
        self.seconds = 0.0
        self.model = Spark(shape)
        self._optimisers = optimisers(self.model, matrix_lr=plan.matrix_lr, other_lr=plan.other_lr)
        self._initial = [[g["lr"] for g in o.param_groups] for o in self._optimisers]
        self._folder = folder
        if compiled:
            self.model.compile_blocks()

    def run(self, tokenizer: Tokenizer) -> None:
        """Train to the end of the plan, with a line and a checkpoint now and then."""
        source = self._source(tokenizer)
        recent: list[float] = []
        while self.step < self.plan.steps:
            began = time.monotonic()
            batch = next(source)
            recent.append(self._learn(batch))
            self.seconds += time.monotonic() - began
            self.num_tokens += batch.tokens.numel()
            self.step += 1
            if self.step % 50 == 0:
                self._report(sum(recent) / len(recent))
                recent.clear()
                self.save()
        self.save()

    def _source(self, tokenizer: Tokenizer) -> Iterator[Batch]:
        plan = self.plan
        endless = batches(
            tokenizer,
            seed=plan.seed,
            size=plan.batch_tokens,
            context=self.model.shape.context,
        )
        return islice(endless, self.step, None)

    def _learn(self, batch: Batch) -> float:
        inputs, wanted = batch.tokens[:, :-1].contiguous(), batch.tokens[:, 1:]
        keep = batch.spoken[:, 1:]
        loss = F.cross_entropy(self.model(inputs, keep), wanted[keep])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = self.plan.rate(self.step)
        for optimiser, rates in zip(self._optimisers, self._initial, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return loss.item()

    def _report(self, loss: float) -> None:
        speed = self.num_tokens / self.seconds
        print(
            f"step {self.step} of {self.plan.steps}  loss {loss:.4f}  "
            f"{self.num_tokens / 1e6:.2f} M tokens  {speed:.0f} tokens/s  {self.seconds:.0f} s",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint beside the old one first, so that a kill leaves one intact."""
        path = self._folder / "checkpoint.pt"
        state = {
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self._optimisers],
            "step": self.step,
            "num_tokens": self.num_tokens,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def resume(self) -> None:
        """Take up the run of the checkpoint, if there is one."""
        path = self._folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.num_tokens = state["num_tokens"]
        self.seconds = state["seconds"]
