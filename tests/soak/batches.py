"""Batches over HTTP while the gateways die: a file now and then, each of whose lines must come out.

A question is repeated at another gateway until one answers. A batch is looked for only once its id
was told: one whose making was answered by nobody may exist, and harms nobody.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import openai
from openai.types import Batch

from mesh.clock import monotonic
from tests.support.batch_faults import address_of, check
from tests.support.batches import line, lines_of, submit
from tests.support.job_faults import Processes
from tests.support.responses import client_at

T = TypeVar("T")

ANSWER_WITHIN = 10.0
"""Seconds; the gateway that is asked may stand still."""
PASSING = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)
OVER = ("completed", "failed", "expired", "cancelled")


@dataclass
class BatchLoad:
    """Files of ``lines`` requests; ``patience``: seconds for each to come out."""

    processes: Processes
    chance: random.Random
    lines: int
    patience: float
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def run(self, number: int) -> None:
        """Have one file computed, and note what is wrong with what comes out."""
        names = [f"batch-{number}-{place}" for place in range(self.lines)]
        batch = await self._ask(lambda client: submit(client, map(line, names)))
        done = await self._ended(batch)
        self.counts[f"batches {done.status}"] += 1
        if done.status != "completed":
            self.faults.append(f"{batch.id} ({done.status}): {done.errors}")
            return
        files = [
            await self._ask(lambda client, file=file: lines_of(client, file))  # type: ignore[misc]
            for file in (done.output_file_id, done.error_file_id)
        ]
        self.counts["lines"] += sum(map(len, files))
        self.faults += [f"{batch.id}: {fault}" for fault in check(names, *files)]

    async def _ended(self, batch: Batch) -> Batch:
        deadline, now = monotonic() + self.patience, batch
        while now.status not in OVER:
            assert monotonic() < deadline, f"{batch.id} has not ended: {now.request_counts}"
            await asyncio.sleep(0.5)
            now = await self._ask(lambda client: client.batches.retrieve(batch.id))
        return now

    async def _ask(self, question: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """Ask a gateway, and another one if that does not answer; a 404 is none of its answers."""
        deadline = monotonic() + self.patience
        while True:
            gateways = self.processes.up("gateway")
            try:
                if gateways:
                    address = address_of(self.chance.choice(gateways))
                    async with client_at(address, retries=0) as client:
                        return await question(client.with_options(timeout=ANSWER_WITHIN))
            except PASSING as error:
                self.counts["repeated questions"] += 1
                if monotonic() > deadline:
                    raise AssertionError(f"no gateway answers: {error!r}") from error
            await asyncio.sleep(0.5)
