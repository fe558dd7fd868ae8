"""How much of a step background sequences may have, so that interactive requests hardly notice.

While an interactive prompt is computed: nothing. While interactive streams run: a tenth of the
time, saved up from step to step. While there are none: everything, but in steps so short that one
who arrives in the middle of one hardly waits for its end.
"""

from collections.abc import Sequence as Items

from workers.llama.chunking import ChunkSize
from workers.llama.sequence import Sequence
from workers.llama.waits import SHARE, Waits

WORTHWHILE = 2.0
"""How many times as long as a step of one row a step may take in any case: below, reading all
weights is most of its cost."""


class Courtesy:
    """Chooses who takes part in a step, and how many tokens it may hold."""

    def __init__(self, chunk: ChunkSize) -> None:
        """``chunk``: knows what steps cost."""
        self._chunk = chunk
        self._credit = 0.0
        """Seconds that background work may add to the next step beside interactive streams."""
        self.waits = Waits()

    def select(self, running: list[Sequence], now: float) -> tuple[list[Sequence], int]:
        """Return the sequences of the next step, interactive ones first, and its size in tokens."""
        background = [sequence for sequence in running if sequence.is_background]
        if not background:
            return running, self._chunk.tokens(_num_streams(running))
        interactive = [sequence for sequence in running if not sequence.is_background]
        if any(sequence.is_prefilling for sequence in interactive):
            return interactive, self._chunk.tokens(_num_streams(interactive))
        if interactive:
            return self._beside(interactive, background)
        return self._alone(background, self.waits.tolerated(now))

    def note(self, streams: int, others: int, seconds: float) -> None:
        """Settle a step of ``streams`` interactive streams and ``others`` background sequences."""
        if not streams:
            return
        gap = self._chunk.cost.of(streams)
        if others:
            self._credit -= max(0.0, seconds - gap)
        # What is saved up is spent at once: no step takes more than twice as long for it.
        self._credit = min(max(self._credit + SHARE * gap, -gap), gap)

    def _beside(
        self, streams: Items[Sequence], background: Items[Sequence]
    ) -> tuple[list[Sequence], int]:
        """Add what the credit pays for: rows first, then pieces of prompts."""
        cost, gap = self._chunk.cost, self._chunk.cost.of(len(streams))
        chosen = list(streams)
        for sequence in background:
            if sequence.is_prefilling or cost.of(len(chosen) + 1) - gap > self._credit:
                continue
            chosen.append(sequence)
        rows = len(chosen)
        tokens = self._chunk.tokens_for(self._credit - (cost.of(rows) - gap))
        if tokens:
            chosen += [sequence for sequence in background if sequence.is_prefilling]
        return chosen, rows + tokens

    def _alone(
        self, background: list[Sequence], tolerated: float | None
    ) -> tuple[list[Sequence], int]:
        if tolerated is None:
            return background, self._chunk.tokens(_num_streams(background))
        cost = self._chunk.cost
        limit = max(tolerated, WORTHWHILE * cost.of(1))
        streams = [sequence for sequence in background if not sequence.is_prefilling]
        while len(streams) > 1 and cost.of(len(streams)) > limit:
            streams.pop()
        prompts = [sequence for sequence in background if sequence.is_prefilling]
        return [*streams, *prompts], self._chunk.tokens(len(streams), within=limit)


def _num_streams(sequences: Items[Sequence]) -> int:
    return sum(not sequence.is_prefilling for sequence in sequences)
