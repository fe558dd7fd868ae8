"""Training from scratch on a CPU: constant rates, then a straight way down to zero.

A run can be stopped anywhere, exported, and taken up again from its last checkpoint.
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
from models.spark.threads import Threads


class Trainer:
    """A model, its optimisers and how far they have come."""

    def __init__(self, plan: Plan, shape: Shape, folder: Path, *, threads: int) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.step = 0
        self.num_tokens = 0
        self.seconds = 0.0
        self.model = Spark(shape)
        self._optimisers = optimisers(self.model, matrix_lr=plan.matrix_lr, other_lr=plan.other_lr)
        self._initial = [[g["lr"] for g in o.param_groups] for o in self._optimisers]
        self._folder = folder
        self._threads = Threads(threads)

    def run(self, tokenizer: Tokenizer) -> None:
        """Train to the end of the plan, with a line and a checkpoint now and then."""
        source = self._source(tokenizer)
        recent: list[float] = []
        while self.step < self.plan.steps:
            began = time.monotonic()
            batch = next(source)
            self._threads.set(self.step)
            recent.append(self._learn(batch))
            took = time.monotonic() - began
            self._threads.took(self.step, took, batch.tokens.numel())
            self.seconds += took
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
        # Twice as fast as float32 where the processor has bfloat16; weights stay float32.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(inputs, keep)
        loss = F.cross_entropy(logits.float(), wanted[keep])
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
        cpu = time.process_time()
        print(
            f"step {self.step} of {self.plan.steps}  loss {loss:.4f}  "
            f"{self.num_tokens / 1e6:.2f} M tokens  {speed:.0f} tokens/s  {self.seconds:.0f} s  "
            f"{cpu:.0f} s of CPU  {torch.get_num_threads()} threads",
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
