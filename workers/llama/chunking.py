"""How many tokens a step may hold, so that a long prompt does not make running streams stutter.

A stream that gets a token in every step waits for as long as the step takes. A step that also
computes a piece of a prompt should take about twice as long as one that does not, so the piece may
cost what the streams' own rows cost: twice the usual gap between tokens.
"""

import math

from workers.llama.grain import TILE
from workers.llama.rates import DECAY

FLOOR = TILE
"""Prompt tokens that are always worth a step: below a tile each takes much longer."""
OUTLIER = 3.0
"""How many times the expected time a step is believed: beyond, something else had the cores."""
LEAST_SHARE = 0.25
"""Part of the step time that prompts get even where the streams alone take all of it."""
RIDGE = 0.5
"""Spread of the row counts (in rows²) below which their effect is taken for noise."""


class StepCost:
    """Seconds of a step without prompts as a line over its rows: decayed least squares.

    While only one row count has been seen, the line is level.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = 0.0
        self._seconds = 0.0
        self._rows_squared = 0.0
        self._product = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Count a step; a step far slower than expected counts as a slow one, not as it is."""
        if self._weight:
            seconds = min(seconds, OUTLIER * self.of(rows))
        self._weight = self._weight * DECAY + 1
        self._rows = self._rows * DECAY + rows
        self._seconds = self._seconds * DECAY + seconds
        self._rows_squared = self._rows_squared * DECAY + rows * rows
        self._product = self._product * DECAY + rows * seconds

    def of(self, rows: int) -> float:
        """Return the seconds of a step of ``rows`` rows, 0 before the first measurement."""
        if not self._weight:
            return 0.0
        mean_rows, mean = self._rows / self._weight, self._seconds / self._weight
        spread = self._rows_squared / self._weight - mean_rows**2
        slope = (self._product / self._weight - mean_rows * mean) / (spread + RIDGE)
        # More rows never cost less, and no row costs more than its share of a whole step.
        slope = min(max(slope, 0.0), mean / mean_rows)
        return mean + slope * (rows - mean_rows)


class ChunkSize:
    """Chooses the size of the next step from what steps have cost so far."""

    def __init__(self, *, most: int, step_time: float) -> None:
        """``most``: tokens per step at most; ``step_time``: seconds no step should exceed."""
        self._most = most
        self._step_time = step_time
        self._decode = StepCost()
        self._tokens = 0.0
        self._seconds = 0.0

    def tokens(self, streams: int, prompts: int = 1, within: float = math.inf) -> int:
        """Return the tokens the next step may hold, those of ``streams`` running streams included.

        Before any prompt was measured that is a small chunk, which is safe on every machine.
        ``prompts``: how many wait; the more, the more of a step is theirs, so that requests that
        come together are soon computed together. ``within``: seconds the step should not exceed,
        where that is less than usual.
        """
        step_time = min(self._step_time, within)
        return min(self._most, streams + self._prompt_tokens(streams, prompts, step_time))

    def tokens_for(self, seconds: float) -> int:
        """Return how many prompt tokens add so many seconds to a step, 0 if nothing is known."""
        cost = self._token_cost
        return min(self._most, int(seconds / cost)) if cost and seconds > 0 else 0

    def note(self, prefilled: int, decoded: int, seconds: float) -> None:
        """Learn from a step of ``prefilled`` prompt tokens and ``decoded`` other rows."""
        if prefilled:
            self._note_prompt(prefilled, seconds - self._decode.of(decoded))
        elif decoded:
            self._decode.add(decoded, seconds)

    @property
    def _token_cost(self) -> float:
        """Seconds that one prompt token adds to a step, 0 if unknown."""
        return self._seconds / self._tokens if self._tokens else 0.0

    def _prompt_tokens(self, streams: int, prompts: int, step_time: float) -> int:
        cost = self._token_cost
        if not cost:
            return FLOOR
        gap = self._decode.of(streams)
        left = max(step_time - gap, step_time * LEAST_SHARE)
        affordable = max(1, round(left / cost))
        if FLOOR / 2 <= affordable < FLOOR:
            affordable = FLOOR  # seen from below the floor, its tokens look dearer than they are
        if streams == 0:
            return affordable
        return min(affordable, max(1, prompts) * max(FLOOR, round(gap / cost)))

    def _note_prompt(self, prefilled: int, seconds: float) -> None:
        known = self._token_cost * prefilled
        if known:
            # Both ways: a step quicker than its streams alone are thought to be says little.
            seconds = min(max(seconds, known / OUTLIER), known * OUTLIER)
        self._tokens = self._tokens * DECAY + prefilled
        self._seconds = self._seconds * DECAY + max(seconds, 0.0)
