"""Which sequences are being computed: attempts come in, their choices are given places, and leave.

Every interactive attempt is guaranteed one place, which its first open choice has. Further choices
run in those that are left, and give way to attempts that arrive later.
Background attempts come after all of them, in the same way among themselves: whoever gives way is
paused between two steps, and goes on when there is room again.
"""

from workers.llama.attempt import Attempt
from workers.llama.cache import MIN_SHARED, KvCache
from workers.llama.sequence import Sequence


class Admission:
    """The attempts, and of their sequences those that run and those that wait for a place."""

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self.attempts: dict[int, Attempt] = {}
        self.running: list[Sequence] = []
        """In the order in which they got their places, which is that of computing prompts."""
        self.waiting: list[Sequence] = []

    def add(self, attempt: Attempt) -> None:
        """Take an attempt; its choices wait for the next step."""
        self.attempts[attempt.number] = attempt
        self.waiting += attempt.open

    def num_attempts(self, *, background: bool) -> int:
        """Return how many attempts a new one has to share the slots with."""
        if background:
            return len(self.attempts)
        return sum(not attempt.is_background for attempt in self.attempts.values())

    def admit(self) -> None:
        """Place what can be placed, in the order of who gives way to whom."""
        self.waiting.sort(key=self._place_in_line)
        for sequence in self.waiting[:]:
            if self._cache.go_on(sequence):
                self._run(sequence)
                continue
            self._cache.settle()
            yielding = self._yielding_to(sequence)
            is_guaranteed = not any(self._rank(sequence))
            if not is_guaranteed and not (self._cache.streams.num_free or yielding):
                continue
            if not self._is_coming(sequence):
                if not self._cache.streams.num_free:
                    self._send_back(yielding[0])
                self._place(sequence)

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
            if not attempt.keeps_cache:
                self._cache.discard(sequence.domain)  # left by a pause

    def drop(self, attempt: Attempt, *, keep: bool) -> None:
        """End all choices of an attempt that nobody waits for any more."""
        for sequence in attempt.open[:]:
            self.leave(sequence, keep=keep)

    def _rank(self, sequence: Sequence) -> tuple[bool, bool]:
        """Return who gives way: those of a higher rank to those of a lower one."""
        attempt = self.attempts[sequence.attempt]
        return attempt.is_background, attempt.first is not sequence

    def _place_in_line(self, sequence: Sequence) -> tuple[tuple[bool, bool], int, int]:
        return self._rank(sequence), sequence.attempt, sequence.index

    def _yielding_to(self, sequence: Sequence) -> list[Sequence]:
        """Return who would give way, the latest of the highest rank first."""
        rank = self._rank(sequence)
        yielding = [other for other in self.running if self._rank(other) > rank]
        return sorted(yielding, key=self._place_in_line, reverse=True)

    def _is_coming(self, sequence: Sequence) -> bool:
        """Tell whether to wait for another that is computing the same beginning just now."""
        match = self._cache.match(sequence, self.running)
        if match.coming - match.length < MIN_SHARED:
            return False
        if sequence.is_background:
            return True
        # A background sequence does not get there while an interactive one waits for it.
        swift = [other for other in self.running if not other.is_background]
        return self._cache.match(sequence, swift).coming - match.length >= MIN_SHARED

    def _send_back(self, sequence: Sequence) -> None:
        """Let a sequence wait again, so that its place is free."""
        self.running.remove(sequence)
        self._cache.pause(sequence)
        self.waiting.append(sequence)

    def _place(self, sequence: Sequence) -> None:
        self._cache.place(sequence, self._cache.match(sequence, self.running))
        self._run(sequence)

    def _run(self, sequence: Sequence) -> None:
        """Count a sequence that has got its place among those that run."""
        self.waiting.remove(sequence)
        self.running.append(sequence)
        if sequence.num_pending > 1:
            sequence.num_initial = len(sequence.tokens)
        attempt = self.attempts[sequence.attempt]
        if sequence is attempt.choices[0] and attempt.num_cached is None:
            attempt.num_cached = 0 if sequence.num_generated else sequence.num_computed
