"""The embedding loop: read inputs → pack a batch → encode, for all attempts in turn.

Background attempts have their turn while there is no interactive one, in batches that hold up one
who comes meanwhile but little.

The same interface as the text loop's, so that the engine process need not know which it runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mesh.clock import Clock, monotonic
from mesh.errors import Busy, DeadlineExceeded, InternalError, MeshError
from schemas.inference import InferRequest, Task, Urgency, Usage
from workers.llama.encoder import Encoder
from workers.llama.inputs import InputReader
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.packing import pack
from workers.llama.rates import Rate
from workers.llama.vectors import scores, unit_vectors
from workers.llama.waits import Waits
from workers.slices import slices

READ_TOKENS = 4096
"""Tokens made of texts between two batches: reading must not hold up who waits for a batch."""
LEAST_BATCH = 32
"""Tokens that are worth a batch in any case: below, reading all weights is most of its cost."""
WARM_UP_TOKENS = (1, 32)


@dataclass(eq=False, kw_only=True, slots=True)
class Job:
    """One attempt: what it wants, how much of it is read, and how much computed."""

    attempt: int
    request: InferRequest
    arrived: float
    deadline: float
    inputs: list[Sequence[int]] = field(default_factory=list)
    """Tokens of the inputs read so far."""
    num_done: int = 0
    """Inputs computed; their tokens are dropped."""
    num_tokens: int = 0

    @property
    def is_background(self) -> bool:
        """Whether it gives way to interactive attempts."""
        return self.request.urgency is Urgency.BACKGROUND

    @property
    def is_read(self) -> bool:
        """Whether all inputs have become tokens; none is computed before, so none is in vain."""
        return len(self.inputs) == len(self.request.inputs)

    @property
    def is_done(self) -> bool:
        """Whether all inputs are computed."""
        return self.num_done == len(self.request.inputs)

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each input that is still to be computed."""
        return [len(tokens) for tokens in self.inputs[self.num_done :]]

    def add(self, tokens: Sequence[int]) -> None:
        """Take in the next input's tokens."""
        self.inputs.append(tokens)
        self.num_tokens += len(tokens)


class Embedder:
    """Computes the inputs of up to ``slots`` attempts; the caller takes a report per step."""

    def __init__(
        self,
        encoder: Encoder,
        reader: InputReader,
        *,
        slots: int,
        batch: int,
        sequences: int,
        clock: Clock = monotonic,
    ) -> None:
        """``batch``: tokens computed at a time, ``sequences``: inputs at a time."""
        self._encoder, self._reader = encoder, reader
        self._slots, self._batch, self._sequences = slots, batch, sequences
        self._clock = clock
        self._jobs: dict[int, Job] = {}
        """Those that wait longest for a batch come first."""
        self._outputs: list[Output] = []
        self._has_news = False
        self._rate = Rate()
        self._waits = Waits()

    @property
    def patience(self) -> float | None:
        """See ``Steps.patience``."""
        return None if self.is_idle else 0.0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute and nothing to report."""
        return not self._jobs and not self._has_news

    def handle(self, message: Submit | Cancel) -> None:
        """Take an order; its effect shows in the next step, which it causes in any case."""
        self._has_news = True
        match message:
            case Submit():
                self._submit(message)
            case Cancel(attempt):
                self._jobs.pop(attempt, None)

    def step(self) -> Step:
        """Read some inputs, compute one batch, and report what became of every attempt."""
        self._expire()
        self._read()
        shares = pack(
            [job for job in self._whose_turn() if job.is_read],
            tokens=self._batch_tokens(),
            sequences=self._sequences,
        )
        return self.report(self._compute(shares) if shares else 0)

    def report(self, prefilled: int = 0) -> Step:
        """Return the outputs so far with the figures of the moment, and start afresh."""
        outputs, self._outputs = tuple(self._outputs), []
        self._has_news = False
        return Step(
            outputs=outputs,
            prefilled=prefilled,
            decoded=0,
            kv_free=0,
            prefill_rate=self._rate.value,
            decode_rate=0.0,
        )

    def warm_up(self) -> None:
        """Touch all weights once, then measure a first rate."""
        for count in WARM_UP_TOKENS:
            started = self._clock()
            self._encoder.encode([[0] * min(count, self._batch)])
        self._rate.add(min(count, self._batch), self._clock() - started)

    def _submit(self, submit: Submit) -> None:
        try:
            sharing = self._jobs if submit.request.urgency is Urgency.BACKGROUND else self._wanted()
            if len(sharing) >= self._slots:
                raise Busy
            self._reader.check(submit.request)
        except MeshError as error:
            self._fail(submit.attempt, error)
            return
        now = self._clock()
        self._jobs[submit.attempt] = Job(
            attempt=submit.attempt,
            request=submit.request,
            arrived=now,
            deadline=now + submit.remaining_ms / 1000,
        )

    def _wanted(self) -> list[Job]:
        """Return the interactive attempts."""
        return [job for job in self._jobs.values() if not job.is_background]

    def _whose_turn(self) -> list[Job]:
        """Return the interactive attempts, or the background ones if there are no others."""
        return self._wanted() or list(self._jobs.values())

    def _batch_tokens(self) -> int:
        """Return how many tokens the next batch may hold."""
        tolerated = self._waits.tolerated(self._clock())
        if tolerated is None or self._wanted():
            return self._batch
        return min(self._batch, max(LEAST_BATCH, int(tolerated * self._rate.value)))

    def _expire(self) -> None:
        now = self._clock()
        for job in [job for job in self._jobs.values() if job.deadline <= now]:
            self._end(job, DeadlineExceeded())

    def _read(self) -> None:
        """Turn texts into tokens, an input of each attempt in turn, as much as a step may take."""
        room = READ_TOKENS
        unread = [job for job in self._whose_turn() if not job.is_read]
        while unread and room > 0:
            for job in unread:
                room -= self._read_next(job)
            unread = [job for job in unread if job.attempt in self._jobs and not job.is_read]

    def _read_next(self, job: Job) -> int:
        """Return how many tokens the next input of an attempt has; a bad one ends the attempt."""
        try:
            tokens = self._reader.read(job.request, len(job.inputs))
        except MeshError as error:
            self._end(job, error)
            return 0
        job.add(tokens)
        return len(tokens)

    def _compute(self, shares: Sequence[tuple[Job, int]]) -> int:
        """Compute a batch; return how many tokens it had."""
        inputs = [tokens for job, count in shares for tokens in _next(job, count)]
        num_tokens = sum(map(len, inputs))
        started = self._clock()
        rows = self._encoder.encode(inputs)
        self._rate.add(num_tokens, self._clock() - started)
        start = 0
        for job, count in shares:
            self._take(job, rows[start : start + count])
            start += count
        return num_tokens

    def _take(self, job: Job, rows: NDArray[np.float32]) -> None:
        if not np.isfinite(rows).all():
            self._end(job, InternalError("the model computed numbers that are not finite"))
            return
        if not (job.num_done or job.is_background):
            now = self._clock()
            self._waits.note(now - job.arrived, now)
        self._outputs += _outputs(job, rows)
        end = job.num_done + len(rows)
        job.inputs[job.num_done : end] = [()] * len(rows)
        job.num_done = end
        del self._jobs[job.attempt]
        if job.is_done:
            usage = Usage(prompt_tokens=job.num_tokens)
            self._outputs.append(Output(job.attempt, reason="stop", usage=usage))
        else:
            # To the end of the line: whoever got nothing of this batch comes first in the next.
            self._jobs[job.attempt] = job

    def _end(self, job: Job, error: MeshError) -> None:
        del self._jobs[job.attempt]
        self._fail(job.attempt, error)

    def _fail(self, attempt: int, error: MeshError) -> None:
        self._outputs.append(
            Output(attempt, failure=error.code, message=error.message, param=error.param)
        )


def _next(job: Job, count: int) -> Sequence[Sequence[int]]:
    return job.inputs[job.num_done : job.num_done + count]


def _outputs(job: Job, rows: NDArray[np.float32]) -> Iterator[Output]:
    """Yield the rows of the next inputs of an attempt, in pieces that the bus takes easily."""
    if job.request.task is Task.RERANK:
        yield Output(job.attempt, index=job.num_done, scores=scores(rows))
        return
    for start, vectors in slices(unit_vectors(rows, job.request.dimensions)):
        yield Output(job.attempt, index=job.num_done + start, vectors=vectors)
