"""What interactive requests notice of background work, on a machine whose time is only counted."""

import random
from dataclasses import dataclass, field

import pytest

from schemas.inference import Urgency
from tests.unit.test_llama_loop import FakeDecoder, make_loop, submit
from workers.llama.loop import Loop
from workers.llama.messages import Submit

SLOTS, CONTEXT = 4, 1000
REQUESTS = 100
ANSWER = 20
THINKING = 0.3
"""Seconds at most between two interactive requests."""
JOB_PROMPT = 150


@dataclass
class Desk:
    """One who asks again and again, and jobs that fill whatever is idle."""

    decoder: FakeDecoder
    with_jobs: bool
    prompt: int
    number: int = 0
    asked: int | None = None
    jobs: set[int] = field(default_factory=set)
    jobs_done: int = 0
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop: Loop = make_loop(
            self.decoder,
            context=CONTEXT,
            slots=SLOTS,
            chunk=256,
            step_time=0.25,
        )
        self.loop.warm_up()
        self.dice = random.Random(1)  # noqa: S311 - repeatable, nothing secret
        self.due = self.decoder.now

    def run(self) -> float:
        """Return the 95th percentile of the seconds to the first token."""
        while len(self.waits) < REQUESTS:
            self._fill()
            if self.asked is None and self.decoder.now >= self.due:
                self.asked = self._submit(self.prompt, Urgency.INTERACTIVE, max_tokens=ANSWER)
            if self.loop.is_idle:
                self.decoder.now = self.due
            else:
                self._step()
        return sorted(self.waits)[int(0.95 * REQUESTS)]

    def _fill(self) -> None:
        while self.with_jobs and len(self.jobs) + (self.asked is not None) < SLOTS:
            self.jobs.add(self._submit(JOB_PROMPT, Urgency.BACKGROUND))

    def _submit(self, prompt: int, urgency: Urgency, **changes: int) -> int:
        self.number += 1
        text = f"{self.number}".ljust(prompt, "x")
        request = submit(0, text, urgency=urgency, **changes).request
        self.loop.handle(Submit(self.number, remaining_ms=10**9, request=request))
        return self.number

    def _step(self) -> None:
        for output in self.loop.step().outputs:
            assert output.failure is None
            if output.attempt == self.asked and output.text == "a":
                self.waits.append(self.decoder.now - self.due)
            if output.reason and output.attempt == self.asked:
                self.asked, self.due = None, self.decoder.now + self.dice.uniform(0, THINKING)
            elif output.reason:
                self.jobs.remove(output.attempt)
                self.jobs_done += 1


@pytest.mark.parametrize(
    ("step", "token", "prompt"),
    [(0.008, 0.0011, 200), (0.002, 0.0022, 100), (0.010, 0.0002, 900)],
    ids=["laptop", "slow cores", "GPU"],
)
def test_first_tokens_come_hardly_later(step: float, token: float, prompt: int) -> None:
    """With every idle slot full of jobs the 95th percentile grows by a tenth at most."""

    def desk(*, with_jobs: bool) -> Desk:
        decoder = FakeDecoder(
            step_seconds=step,
            token_seconds=token,
            max_rows=36,
            longest_text=CONTEXT,
        )
        return Desk(decoder, with_jobs, prompt)

    alone, beside = desk(with_jobs=False), desk(with_jobs=True)
    assert beside.run() <= 1.1 * alone.run()
    assert beside.jobs_done > 10
