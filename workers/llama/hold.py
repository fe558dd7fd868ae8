"""Whole answers wait while prompts are read.

A step with few rows takes nearly as long as one with many. Answers that come together are computed
soonest if all of their prompts are read first, and nobody sees the pause that this makes, unless
somebody watches the tokens arrive.
"""

from collections.abc import Iterable

from workers.llama.sequence import Sequence

LONGEST = 1.0
"""Seconds after which there is a step all the same: prompts may keep coming."""


class Hold:
    """Decides whether running sequences are left out of a step that reads prompts."""

    def __init__(self) -> None:
        self._since: float | None = None

    def keeps(self, sequences: Iterable[Sequence], now: float) -> bool:
        """Return whether these are to wait, and count the time that they do."""
        if any(sequence.is_watched for sequence in sequences):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < LONGEST:
            return True
        self._since = None
        return False

    def release(self) -> None:
        """Note that nobody has to wait any more."""
        self._since = None
