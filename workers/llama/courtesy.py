"""How much of a step background sequences may have, so that interactive requests hardly notice.

While an interactive prompt is computed: nothing. While interactive streams run: a tenth of the
time, saved up from step to step. While there are none: everything, but in steps so short that one
who arrives in the middle of one hardly waits for its end.
"""

from collections.abc import Sequence as Items

from workers.llama.chunking import ChunkSize, StepCost
from workers.llama.hold import Hold
from workers.llama.load import Load
from workers.llama.rates import DECAY
from workers.llama.sequence import Sequence
from workers.llama.waits import Waits

SHARE = 0.1
"""Part of interactive streams' time that background work may take."""
WORTHWHILE = 1.5
"""How many times as long as a step of one row a step may take in any case: below, reading all
weights is most of its cost."""
FADING = 0.99
"""Weight of what is known of a second row after each step of one."""


class RowCost:
    """Seconds that a background row adds to a step of interactive streams."""

    def __init__(self) -> None:
        self._rows = 0.0
        self._seconds = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Count a step that took so many seconds more for them."""
        self._rows = self._rows * DECAY + rows
        self._seconds = max(0.0, self._seconds * DECAY + seconds)

    def rows_for(self, seconds: float) -> float:
        """Return how many rows add no more than ``seconds``; one as long as nothing is known."""
        if seconds < 0:
            return 0
        if not self._rows:
            return 1
        return seconds * self._rows / self._seconds if self._seconds else float("inf")


class Courtesy:
    """Chooses who takes part in a step, and how many tokens it may hold."""

    def __init__(self, chunk: ChunkSize) -> None:
        """``chunk``: knows what prompts cost."""
        self._chunk = chunk
        self._hold = Hold()
        self._undisturbed = StepCost()
        """Of steps of interactive streams alone: others' would make it forget those."""
        self._row = RowCost()
        self._credit = 0.0
        """Seconds that background work may add to the next step beside interactive streams."""
        self._single = StepCost()
        """Of steps of one row."""
        self._most_rows = 1
        """Background streams that are computed at a time where interactive requests may come."""
        self._another = 0.0
        """Seconds that one more of them would take."""
        self.waits = Waits()

    def select(self, running: list[Sequence], now: float) -> tuple[list[Sequence], int]:
        """Return the sequences of the next step, interactive ones first, and its size in tokens."""
        background = [sequence for sequence in running if sequence.is_background]
        if not background:
            return self._with_prompts(running, now)
        interactive = [sequence for sequence in running if not sequence.is_background]
        streams = _streams(interactive)
        if len(streams) < len(interactive):
            return self._with_prompts(interactive, now)
        if interactive:
            return self._beside(interactive, background)
        return self._alone(background, now)

    def _with_prompts(self, sequences: list[Sequence], now: float) -> tuple[list[Sequence], int]:
        streams = _streams(sequences)
        prompts = len(sequences) - len(streams)
        if not prompts:
            self._hold.release()
            return sequences, len(streams)
        if streams and self._hold.keeps(streams, now):
            waiting = [sequence for sequence in sequences if sequence.is_prefilling]
            return waiting, self._chunk.tokens(0, prompts)
        return sequences, self._chunk.tokens(len(streams), prompts)

    def note_single(self, seconds: float) -> None:
        """Learn from a step of one row, whoever's it was."""
        self._single.add(1, seconds)

    def note(self, wanted: Load, background: Load, seconds: float, now: float) -> None:
        """Settle a step: what it held of interactive and of background work, and what it took."""
        if wanted.streams:
            self._settle(wanted, background, seconds)
        elif background.streams and not (wanted.prompt or background.prompt):
            self._adapt(background.streams, seconds, now)

    def _settle(self, wanted: Load, background: Load, seconds: float) -> None:
        """Save up for the next step, and pay for this one."""
        if not any(background):
            if not wanted.prompt:
                self._undisturbed.add(wanted.streams, seconds)
            extra = 0.0
        else:
            extra = seconds - self._undisturbed.of(wanted.streams)
            if not background.prompt:
                self._row.add(background.streams, extra)
        gap = self._undisturbed.of(wanted.streams)
        # What is saved up is spent at once: no step takes more than twice as long for it.
        self._credit = min(max(self._credit + SHARE * gap - extra, -gap), gap)

    def _adapt(self, rows: int, seconds: float, now: float) -> None:
        """Let one stream more or less take part in steps without interactive work."""
        limit = self._limit(now)
        if limit is None:
            return
        if rows > 1:
            self._another = (seconds - self._single.of(1)) / (rows - 1)
        else:
            self._another *= FADING  # so that it is tried again
        if seconds > limit:
            self._most_rows = max(1, rows - 1)
        elif rows == self._most_rows and seconds + self._another <= limit:
            self._most_rows += 1

    def _limit(self, now: float) -> float | None:
        """Return the seconds that a step without interactive work should not exceed."""
        tolerated = self.waits.tolerated(now)
        return None if tolerated is None else max(tolerated, WORTHWHILE * self._single.of(1))

    def _beside(
        self, streams: list[Sequence], background: Items[Sequence]
    ) -> tuple[list[Sequence], int]:
        """Add what the credit pays for: rows first, then pieces of prompts."""
        if not self._undisturbed.of(len(streams)):
            return streams, len(streams)
        affordable = self._row.rows_for(self._credit)
        rows = _streams(background)
        rows = rows[: int(min(affordable, len(rows)))]
        left = 0.0 if rows else self._credit
        tokens = self._chunk.tokens_for(left)
        prompts = [each for each in background if each.is_prefilling] if tokens else []
        return [*streams, *rows, *prompts], len(streams) + len(rows) + tokens

    def _alone(self, background: list[Sequence], now: float) -> tuple[list[Sequence], int]:
        limit = self._limit(now)
        streams = _streams(background)
        if limit is None:
            return background, self._chunk.tokens(len(streams))
        # Prompts have steps of their own: together with streams they would take as long as both.
        if prompts := [sequence for sequence in background if sequence.is_prefilling]:
            return prompts, self._chunk.tokens(0, within=limit)
        return streams[: self._most_rows], self._most_rows


def _streams(sequences: Items[Sequence]) -> list[Sequence]:
    return [sequence for sequence in sequences if not sequence.is_prefilling]
