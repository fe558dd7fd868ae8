"""How far a decoding sequence may guess ahead; the guesses are verified in the same step."""

from workers.llama.drafts import MAX_ROWS, DraftBudget
from workers.llama.sequence import Sequence


class Speculation:
    """Drafts for one loop: what a constraint leaves no choice about, else what was said before."""

    def __init__(self, max_rows: int) -> None:
        """``max_rows``: rows of logits that one step can give."""
        self._max_rows = max_rows
        self._budget = DraftBudget()

    def draft(self, sequence: Sequence, streams: int) -> list[int]:
        """Return tokens to be tried beyond the next one; ``streams``: who all try as many."""
        # A draft of n tokens that is right makes the sequence longer by n + 1.
        left = sequence.max_length - len(sequence.tokens) - 1
        room = min(self._max_rows // streams - 1, left)
        if room <= 0:
            return []
        if sequence.constraint is not None and (forced := sequence.constraint.forced()):
            return forced[:room]
        drafter = sequence.drafter
        if drafter is None or 2 * streams > MAX_ROWS:
            return []
        # Only now: where many sequences run, nothing is ever drafted, and nothing need be learnt.
        for token in sequence.tokens[sequence.num_learnt :]:
            drafter.push(token)
        sequence.num_learnt = len(sequence.tokens)
        if not (acceptance := drafter.acceptance):
            return []
        return drafter.draft(min(room, self._budget.limit(streams, acceptance)))

    def note(self, rows: int, seconds: float) -> None:
        """Learn what a step without prompts costs."""
        self._budget.note(rows, seconds)
