"""The step loop: admit → schedule → decode → sample, for all running sequences at once."""

from collections.abc import Sequence as Items
from typing import Any

import msgspec

from mesh.clock import Clock, monotonic
from mesh.errors import Busy, DeadlineExceeded, MeshError
from schemas.inference import FinishReason, Sampling, Task, Urgency, Usage
from workers.llama.admission import Admission
from workers.llama.attempt import Attempt
from workers.llama.cache import KvCache
from workers.llama.calls import calls_of
from workers.llama.chunking import ChunkSize
from workers.llama.courtesy import Courtesy
from workers.llama.decoder import Decoder
from workers.llama.grain import ANY_NUMBER, Grain
from workers.llama.intake import Intake
from workers.llama.load import IDLE, Load, load_of
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.rates import Rate
from workers.llama.sampling import Defaults, resolve
from workers.llama.scheduler import no_drafts, schedule
from workers.llama.scoring import told
from workers.llama.sequence import NO_SLOT, Sequence, Work
from workers.llama.speculation import Speculation
from workers.llama.voice import Voice

WARM_UP_TOKENS = 64
KEPT_AFTER = 0.25
"""Seconds for which an ended sequence stays where it is while there is nothing else to do."""


class Loop:
    """Runs up to ``slots`` attempts; the caller feeds messages and takes a report per step."""

    def __init__(
        self,
        decoder: Decoder,
        intake: Intake,
        *,
        slots: int,
        context: int,
        room: int,
        chunk: int,
        step_time: float,
        grain: Grain = ANY_NUMBER,
        clock: Clock = monotonic,
    ) -> None:
        """``room``: bytes for what is kept of ended sequences; the rest as in ``LlamaSettings``."""
        self._decoder = decoder
        self._intake = intake
        self._slots = slots
        self._capacity = slots * context
        self._max_chunk = chunk
        self._grain = grain
        self._clock = clock
        self.cache = KvCache(decoder, streams=slots, room=room)
        self._admission = Admission(self.cache)
        self._attempts = self._admission.attempts
        self._chunk = ChunkSize(most=chunk, step_time=step_time)
        self._courtesy = Courtesy(self._chunk)
        self._speculation = Speculation(decoder.max_rows)
        self.can_draft = True
        """Whether what was computed in vain can be taken back."""
        self._outputs: list[Output] = []
        self._has_news = False
        self._prefill = Rate()
        self._decode = Rate()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute, to report or to keep."""
        return self.patience is None

    @property
    def patience(self) -> float | None:
        """See ``Steps.patience``: what is to be kept can wait for the next turn to come."""
        if self._attempts or self._has_news:
            return 0.0
        return None if self.cache.is_settled else KEPT_AFTER

    def handle(self, message: Submit | Cancel) -> None:
        """Take an order; its effect shows in the next step, which it causes in any case."""
        self._has_news = True
        match message:
            case Submit():
                self._submit(message)
            case Cancel(attempt) if attempt in self._attempts:
                self._drop(self._attempts[attempt])

    def step(self) -> Step:
        """Compute one step and report what became of every attempt."""
        self._expire()
        if self._admission.waiting:
            self._admission.admit()
        self.cache.settle()
        self.cache.compact(self._admission.running)
        running, tokens = self._courtesy.select(self._admission.running, self._clock())
        drafts = self._speculation.draft if self.can_draft else no_drafts
        plan = schedule(running, tokens, drafts, self._grain, most=self._max_chunk)
        load = load_of(plan)
        if plan:
            self._compute(plan, load)
        return self.report(load)

    def report(self, load: Load = IDLE) -> Step:
        """Return the outputs so far with the figures of the moment, and start afresh."""
        outputs, self._outputs = tuple(self._outputs), []
        evicted, self.cache.evicted = tuple(self.cache.evicted), []
        self._has_news = False
        # What is kept of ended attempts gives way, and so does background work.
        running = self._admission.running
        taken = sum([each.num_computed for each in running if not each.is_background])
        return Step(
            outputs=outputs,
            prefilled=load.prompt,
            decoded=load.streams,
            kv_free=self._capacity - taken,
            prefill_rate=self._prefill.value,
            decode_rate=self._decode.value,
            evicted=evicted,
        )

    def warm_up(self) -> None:
        """Touch all weights once, measure first rates, and see what the model's memory can do."""
        sampler = self._decoder.sampler(resolve(Sampling(temperature=0), Defaults(), 0))
        sequence = Sequence(
            attempt=-1,
            domain=None,
            slot=0,
            tokens=[],
            num_prompt=0,
            num_initial=0,
            max_length=0,
            ends=frozenset(),
            voice=Voice(-1),
            sampler=sampler,
        )
        start = 0
        for count in (1, min(WARM_UP_TOKENS, self._max_chunk), 1, 1):
            started = self._clock()
            work = Work(sequence, [0] * count, start, 1)
            sampler.sample(self._decoder.decode([work])[0])
            if start:
                is_prompt = count > 1
                seconds = self._clock() - started
                self._measure(Load(count * is_prompt, int(not is_prompt)), 1, seconds)
                if not is_prompt:
                    self._courtesy.note_single(seconds)
            start += count
        self.cache.reuse = self._decoder.examine(0, start)
        self.can_draft = self._decoder.trim(0, start - 1)
        if not self.can_draft:
            self._grain = ANY_NUMBER
        self._decoder.forget(0)
        sampler.close()

    def _submit(self, submit: Submit) -> None:
        if submit.request.task is Task.COUNT:
            self._count(submit)
            return
        try:
            background = submit.request.urgency is Urgency.BACKGROUND
            if self._admission.num_attempts(background=background) >= self._slots:
                raise Busy
            attempt = self._intake.prepare(submit, self._clock())
        except MeshError as error:
            self._fail(submit.attempt, error)
            return
        self._admission.add(attempt)
        for sequence in attempt.choices:
            if sequence.is_full and not sequence.is_scoring:
                self._end(sequence, "length", Output(attempt.number, index=sequence.index))

    def _count(self, submit: Submit) -> None:
        """Answer at once: what only counts takes no place."""
        try:
            usage = Usage(prompt_tokens=self._intake.count(submit.request))
        except MeshError as error:
            self._fail(submit.attempt, error)
        else:
            self._outputs.append(Output(submit.attempt, reason="stop", usage=usage))

    def _compute(self, plan: Items[Work], load: Load) -> None:
        started = self._clock()
        tokens = sum([len(work.tokens) for work in plan])
        interactive = [work for work in plan if not work.sequence.is_background]
        wanted = load if len(interactive) == len(plan) else load_of(interactive)
        background = Load(load.prompt - wanted.prompt, load.streams - wanted.streams)
        sampled = sum([self._call(call) for call in calls_of(plan)])
        seconds = self._clock() - started
        if plan[-1].is_scored:
            return  # it takes longer than other prompts
        # Rates tell what interactive requests may expect.
        self._measure(wanted, 1 + sampled / max(1, load.streams), seconds)
        self._chunk.note(load.prompt, load.streams, seconds)
        self._courtesy.note(wanted, background, seconds, started + seconds)
        if tokens == 1:
            self._courtesy.note_single(seconds)
        if not load.prompt:
            self._speculation.note(tokens, seconds)

    def _call(self, plan: Items[Work]) -> int:
        """Decode and sample, and return how many drafts hold: the next call's logits replace these.

        A work is passed over if another choice of its attempt has failed in this step.
        """
        plan = [work for work in plan if work.sequence.slot != NO_SLOT]
        if not plan:
            return 0
        accepted = 0
        for work, row in zip(plan, self._decoder.decode(plan, self._idle(plan)), strict=True):
            if work.sequence.slot == NO_SLOT:
                continue
            self.cache.grow(work.sequence, len(work.tokens))
            if work.is_scored and not self._score(work, row):
                continue
            if work.num_rows:
                self._note_wait(work.sequence)
                accepted += self._try(work, row)
        return accepted

    def _idle(self, plan: Items[Work]) -> Items[int]:
        """Return empty streams to compute along with running ones that lack rows of a group."""
        missing = 0 if plan[0].sequence.is_prefilling else self._grain.missing(len(plan))
        if not missing or any(len(work.tokens) > 1 for work in plan):
            return ()
        return self.cache.streams.idle_beside([work.sequence.slot for work in plan], missing)

    def _note_wait(self, sequence: Sequence) -> None:
        """Take note of an interactive attempt that is about to get its first token."""
        if not (sequence.is_background or sequence.index or sequence.num_generated):
            now = self._clock()
            self._courtesy.waits.note(now - self._attempts[sequence.attempt].arrived, now)

    def _try(self, work: Work, row: int) -> int:
        """Sample, and return how many drafts hold; a constraint that fails costs its attempt."""
        sequence = work.sequence
        try:
            if work.is_scored:
                row += work.num_rows - 1
            elif work.num_rows > 1:
                return self._verify(work, row)
            output, reason = self._say(sequence, sequence.sampler.sample(row))
        except MeshError as error:
            attempt = self._attempts[sequence.attempt]
            self._fail(attempt.number, error)
            # A draft that was not verified is in the cache.
            self._admission.drop(attempt, keep=False)
        else:
            self._show(sequence, output, reason)
        return 0

    def _score(self, work: Work, row: int) -> bool:
        """Read what rows tell of the prompt; return whether the last one gives a new token."""
        sequence = work.sequence
        assert sequence.scores is not None, "it is being scored"  # noqa: S101
        sequence.scores.read(sequence.tokens, work.start, work.num_rows, row)
        if sequence.is_full and sequence.scores.is_complete:
            self._end(sequence, "length", sequence.voice.finish())
            return False
        return not sequence.num_pending

    def _verify(self, work: Work, row: int) -> int:
        """Sample row after row, as in as many steps, until a draft differs; return how many hold.

        The sampler sees what it would have seen without drafts, so it draws the same.
        """
        sequence, drafts = work.sequence, work.tokens[1:]
        outputs: list[Output | None] = []
        for accepted, draft in enumerate([*drafts, None]):
            token = sequence.sampler.sample(row + accepted)
            output, reason = self._say(sequence, token)
            outputs.append(output)
            if reason or token != draft:
                break
        if rejected := len(drafts) - accepted:
            self.cache.take_back(sequence, rejected)
        if sequence.drafter is not None:
            sequence.drafter.judge(len(drafts), accepted)
        for shown in outputs[:-1]:
            self._show(sequence, shown, None)
        self._show(sequence, outputs[-1], reason)
        return accepted

    def _say(self, sequence: Sequence, token: int) -> tuple[Output | None, FinishReason | None]:
        """Add a token to a choice; return what to show, and how the choice ends if it does."""
        voice = sequence.voice
        if token in sequence.ends:
            return None, "stop"
        sequence.tokens.append(token)
        output = voice.push(token, self._decoder.piece(token))
        if voice.stopped or (sequence.constraint is not None and sequence.constraint.is_complete):
            return output, "stop"
        return output, "length" if sequence.is_full else None

    def _show(self, sequence: Sequence, output: Output | None, reason: FinishReason | None) -> None:
        if output is not None:
            self._outputs.append(told(sequence, output))
        if reason is not None:
            self._end(sequence, reason, sequence.voice.finish())

    def _end(self, sequence: Sequence, reason: FinishReason, rest: Output) -> None:
        """Show the last of a choice, and with the last choice the end of the attempt."""
        attempt = self._attempts[sequence.attempt]
        if reason == "stop" and sequence.voice.has_calls:
            reason = "tool_calls"
        if sequence is attempt.choices[0]:
            attempt.reason, attempt.stop = reason, sequence.voice.stop
            self._bequeath(attempt, sequence)
        self._admission.leave(sequence, keep=attempt.keeps_cache)
        self._outputs.append(_ending(attempt, told(sequence, rest), reason))

    def _bequeath(self, attempt: Attempt, sequence: Sequence) -> None:
        """Have it told when the attempt's tokens leave the cache, which may be at once."""
        if sequence.num_computed:
            sequence.heirs.append(attempt.number)
        else:
            self.cache.evicted.append(attempt.number)

    def _expire(self) -> None:
        now = self._clock()
        for attempt in [a for a in self._attempts.values() if a.deadline <= now]:
            self._fail(attempt.number, DeadlineExceeded())
            self._drop(attempt)

    def _drop(self, attempt: Attempt) -> None:
        self._admission.drop(attempt, keep=attempt.keeps_cache)

    def _fail(self, attempt: int, error: MeshError) -> None:
        self._outputs.append(
            Output(attempt, failure=error.code, message=error.message, param=error.param)
        )

    def _measure(self, load: Load, tokens: float, seconds: float) -> None:
        """Count a step in which every stream moved on by ``tokens`` on average."""
        if load.prompt:
            self._prefill.add(load.prompt, seconds)
        if load.streams:
            self._decode.add(tokens, seconds)


def _ending(attempt: Attempt, rest: Output, reason: FinishReason) -> Output:
    """Return a choice's last output, saying how it ended and whether the attempt has."""
    changes: dict[str, Any] = {}
    if attempt.has_several:
        changes["finish_reason"] = reason
    if not attempt.open:
        changes |= {"reason": attempt.reason, "usage": attempt.usage, "stop": attempt.stop}
    return msgspec.structs.replace(rest, **changes)
