"""Which sequences are being computed: attempts come in, their choices are given places, and leave.

Every attempt is guaranteed one place with room for a whole context, which its first open choice
has. Further choices run in what is left, and give way to attempts that arrive later.
"""

from collections.abc import Iterable

from workers.llama.attempt import Attempt
from workers.llama.cache import MIN_SHARED, KvCache
from workers.llama.prefixes import Match
from workers.llama.sequence import Sequence


class Admission:
    """The attempts, and of their sequences those that run and those that wait for a place."""

    def __init__(self, cache: KvCache, *, max_running: int) -> None:
        """``max_running``: sequences that one step can compute."""
        self._cache = cache
        self._max_running = max_running
        self.attempts: dict[int, Attempt] = {}
        self.running: list[Sequence] = []
        """In order of arrival, which is the order in which prompts are computed."""
        self.waiting: list[Sequence] = []

    def add(self, attempt: Attempt) -> None:
        """Take an attempt; its choices wait for the next step."""
        self.attempts[attempt.number] = attempt
        self.waiting += attempt.open

    def admit(self) -> None:
        """Place what can be placed, first of all the choices that are guaranteed a place."""
        self.waiting.sort(key=self._is_extra)
        for sequence in self.waiting[:]:
            if not self._is_extra(sequence):
                self._make_way(sequence)
            elif not self._fits(sequence):
                continue
            match = self._cache.match(sequence, self.running)
            if match.coming - match.length < MIN_SHARED:
                self._place(sequence, match)

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """End a choice, wherever it is; ``keep``: its tokens may stay in the KV cache."""
        attempt = self.attempts[sequence.attempt]
        attempt.open.remove(sequence)
        sequence.sampler.close()
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            self._cache.leave(sequence, keep=keep)
        if not attempt.open:
            del self.attempts[attempt.number]

    def drop(self, attempt: Attempt, *, keep: bool) -> None:
        """End all choices of an attempt that nobody waits for any more."""
        for sequence in attempt.open[:]:
            self.leave(sequence, keep=keep)

    def _is_extra(self, sequence: Sequence) -> bool:
        return self.attempts[sequence.attempt].first is not sequence

    def _fits(self, sequence: Sequence) -> bool:
        """Return whether a sequence and all that run could become as long as they may."""
        reserved = sequence.max_length + sum(other.max_length for other in self.running)
        return (
            reserved <= self._cache.cells.capacity
            and len(self.running) < self._max_running
            and self._cache.num_free_ids > 0
        )

    def _make_way(self, sequence: Sequence) -> None:
        """Send further choices back to wait, the latest first, until a guaranteed one fits."""
        for extra in self._extras():
            if self._fits(sequence):
                return
            self.running.remove(extra)
            self._cache.abandon(extra)
            extra.num_initial = len(extra.tokens)
            self.waiting.append(extra)

    def _extras(self) -> Iterable[Sequence]:
        return [sequence for sequence in reversed(self.running) if self._is_extra(sequence)]

    def _place(self, sequence: Sequence, match: Match) -> None:
        self._cache.place(sequence, match)
        self.waiting.remove(sequence)
        self.running.append(sequence)
        attempt = self.attempts[sequence.attempt]
        if sequence is attempt.choices[0] and sequence.num_generated == 0:
            attempt.num_cached = sequence.num_computed
