"""The step loop: schedule → decode → sample, for all running sequences at once."""

from collections.abc import Sequence as Items

from mesh.clock import Clock, monotonic
from mesh.errors import Busy, DeadlineExceeded, MeshError
from schemas.inference import FinishReason, Sampling
from workers.llama.decoder import Decoder
from workers.llama.intake import Intake
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.rates import Rate
from workers.llama.sampling import Defaults, resolve
from workers.llama.scheduler import schedule
from workers.llama.sequence import Sequence, Work
from workers.llama.text import Shown, TextStream

MIN_CHUNK = 32
"""Smaller prompt chunks waste more than they win: every step reads all weights once."""
WARM_UP_TOKENS = 32


class Loop:
    """Runs up to ``slots`` sequences; the caller feeds messages and takes a report per step."""

    def __init__(
        self,
        decoder: Decoder,
        intake: Intake,
        *,
        slots: int,
        cells: int,
        chunk: int,
        step_time: float,
        clock: Clock = monotonic,
    ) -> None:
        """``cells``: tokens the KV cache holds; the rest as in ``LlamaSettings``."""
        self._decoder = decoder
        self._intake = intake
        self._free = list(range(slots))
        self._cells = cells
        self._max_chunk = chunk
        self._step_time = step_time
        self._clock = clock
        self._running: dict[int, Sequence] = {}
        self._outputs: list[Output] = []
        self._has_news = False
        self._prefill = Rate()
        self._decode = Rate()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute and nothing to report."""
        return not self._running and not self._has_news

    def handle(self, message: Submit | Cancel) -> None:
        """Take an order; its effect shows in the next step, which it causes in any case."""
        self._has_news = True
        match message:
            case Submit():
                self._submit(message)
            case Cancel(attempt) if attempt in self._running:
                self._release(self._running[attempt])

    def step(self) -> Step:
        """Compute one step and report what became of every sequence."""
        self._expire()
        plan = schedule(self._running.values(), self._chunk())
        prefilled = sum(len(work.tokens) for work in plan if work.sequence.is_prefilling)
        decoded = sum(not work.sequence.is_prefilling for work in plan)
        if plan:
            started = self._clock()
            self._advance(plan)
            self._measure(prefilled, decoded, self._clock() - started)
        return self.report(prefilled, decoded)

    def report(self, prefilled: int = 0, decoded: int = 0) -> Step:
        """Return the outputs so far with the figures of the moment, and start afresh."""
        outputs, self._outputs = tuple(self._outputs), []
        self._has_news = False
        return Step(
            outputs=outputs,
            prefilled=prefilled,
            decoded=decoded,
            kv_free=self._cells - sum(s.num_computed for s in self._running.values()),
            prefill_rate=self._prefill.value,
            decode_rate=self._decode.value,
        )

    def warm_up(self) -> None:
        """Touch all weights once, then measure first rates."""
        sampler = self._decoder.sampler(resolve(Sampling(temperature=0), Defaults(), 0))
        sequence = Sequence(
            attempt=-1,
            slot=0,
            tokens=[],
            num_prompt=0,
            num_initial=0,
            max_length=0,
            deadline=0,
            text=TextStream(),
            sampler=sampler,
        )
        start = 0
        for count in (1, min(WARM_UP_TOKENS, self._max_chunk), 1, 1):
            started = self._clock()
            work = Work(sequence=sequence, tokens=[0] * count, start=start, sampled=True)
            sampler.sample(self._decoder.decode([work])[0])
            if start:
                is_prompt = count > 1
                self._measure(count * is_prompt, int(not is_prompt), self._clock() - started)
            start += count
        self._decoder.forget(0)
        sampler.close()

    def _submit(self, submit: Submit) -> None:
        try:
            if not self._free:
                raise Busy
            sequence = self._intake.prepare(submit, self._free[-1], self._clock())
        except MeshError as error:
            self._fail(submit.attempt, error)
            return
        self._free.pop()
        self._running[submit.attempt] = sequence
        if sequence.is_full:
            self._end(sequence, "length", Shown())

    def _chunk(self) -> int:
        """Return how many tokens a step may compute within its time, by the speed seen so far."""
        rate = self._prefill.value
        affordable = int(rate * self._step_time) if rate else self._max_chunk
        return min(self._max_chunk, max(MIN_CHUNK, affordable))

    def _advance(self, plan: Items[Work]) -> None:
        rows = iter(self._decoder.decode(plan))
        for work in plan:
            work.sequence.num_computed += len(work.tokens)
            if work.sampled:
                self._sample(work.sequence, next(rows))

    def _sample(self, sequence: Sequence, row: int) -> None:
        token = sequence.sampler.sample(row)
        if self._decoder.is_end(token):
            self._end(sequence, "stop", sequence.text.finish())
            return
        sequence.tokens.append(token)
        shown = sequence.text.push(token, self._decoder.piece(token))
        if sequence.text.stopped:
            self._end(sequence, "stop", shown)
        elif sequence.is_full:
            rest = sequence.text.finish()
            self._end(sequence, "length", Shown(shown.text + rest.text, shown.ids + rest.ids))
        elif shown:
            self._outputs.append(Output(sequence.attempt, shown.text, shown.ids))

    def _end(self, sequence: Sequence, reason: FinishReason, shown: Shown) -> None:
        self._outputs.append(
            Output(sequence.attempt, shown.text, shown.ids, reason=reason, usage=sequence.usage)
        )
        self._release(sequence)

    def _expire(self) -> None:
        now = self._clock()
        for sequence in [s for s in self._running.values() if s.deadline <= now]:
            self._fail(sequence.attempt, DeadlineExceeded())
            self._release(sequence)

    def _fail(self, attempt: int, error: MeshError) -> None:
        self._outputs.append(
            Output(attempt, failure=error.code, message=error.message, param=error.param)
        )

    def _release(self, sequence: Sequence) -> None:
        del self._running[sequence.attempt]
        self._decoder.forget(sequence.slot)
        sequence.sampler.close()
        self._free.append(sequence.slot)

    def _measure(self, prefilled: int, decoded: int, seconds: float) -> None:
        if prefilled:
            self._prefill.add(prefilled, seconds)
        if decoded:
            self._decode.add(1, seconds)
