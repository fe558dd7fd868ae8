"""Prompt-lookup speculation: what followed the same words earlier is guessed to follow again.

Apoorv Saxena's prompt lookup decoding, as in llama.cpp's ``lookup`` example: a draft costs no
model, only rows in the next decode, which verifies all of it at once. Answers that quote, edit or
repeat get several tokens per step; for others there is nothing to draft, or drafting stays off.
"""

from collections.abc import Iterator, Sequence

from workers.llama.rates import Rate

MAX_ROWS = 16
"""Rows of a step up to which drafts are considered; a CPU computes more at no gain."""
SHORTEST, LONGEST = 2, 8
"""Tokens that must match before a passage is followed, and how many are worth comparing."""
MAX_CANDIDATES = 8
"""Earlier places that are compared, the latest first, which bounds the work per token."""
MEMORY = 0.95
"""Weight of the past at each guess: about the last twenty count."""
PRIOR_WEIGHT = 4.0
"""Guesses that the first assumption about acceptance is worth."""
FIRST_PAUSE, LONGEST_PAUSE = 8, 64
"""Tokens without drafts after one that was rejected from its first token; doubles each time."""
GAIN = 1.05
"""Speed-up below which a draft is not worth its risk."""
ROW_SHARE = 0.3
"""What a row adds to a step, in parts of a one-row step, where nothing was measured yet."""
PROBE_EVERY = 64
"""One in so many refused drafts is tried after all, so that a bad measurement heals."""
OUTLIER = 3.0
"""How many times the cost so far a step is believed: beyond, something else had the cores."""


class Drafter:
    """Follows one sequence's tokens and knows what came next the last time.

    At every moment it has at most one guess for the next token, and it counts whether that came
    true, drafted or not: so its acceptance is known before the first draft, and learning costs
    no rows. The guess is better the longer the passage has matched, so this is counted per length.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        """``tokens``: the prompt, which is where most quotations come from."""
        self._tokens = list(tokens)
        self._latest: dict[tuple[int, int], int] = {}
        self._earlier = [0] * (len(self._tokens) + 1)
        for at, pair in enumerate(zip(self._tokens, self._tokens[1:], strict=False), 2):
            self._earlier[at] = self._latest.get(pair, 0)
            self._latest[pair] = at
        self._hits = [PRIOR_WEIGHT * max(0.0, 1 - 1.5 / max(1, n)) for n in range(LONGEST + 1)]
        self._guesses = [PRIOR_WEIGHT] * (LONGEST + 1)
        self._pause = FIRST_PAUSE
        self._quiet_until = 0
        self._source, self._match = self._find()

    @property
    def acceptance(self) -> float:
        """Estimated probability that the next token is as guessed, 0 without a guess."""
        if not self._source or len(self._tokens) < self._quiet_until:
            return 0.0
        return self._hits[self._match] / self._guesses[self._match]

    def push(self, token: int) -> None:
        """Take the next token of the sequence, whether it was drafted or not."""
        is_hit = bool(self._source) and self._tokens[self._source] == token
        if self._source:
            self._count(is_hit)
        self._append(token)
        if is_hit and self._match == LONGEST:
            self._source += 1
        else:
            self._source, self._match = self._find()

    def draft(self, limit: int) -> list[int]:
        """Return up to ``limit`` tokens that followed this passage earlier, possibly none."""
        if limit <= 0 or not self.acceptance:
            return []
        return self._tokens[self._source : self._source + limit]

    def judge(self, drafted: int, accepted: int) -> None:
        """Note how many tokens of a draft came true; one rejected outright is followed by a pause.

        The tokens themselves are pushed as ever, before or after.
        """
        if accepted:
            self._pause = FIRST_PAUSE
        elif drafted:
            self._quiet_until = len(self._tokens) + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _count(self, is_hit: bool) -> None:
        length = self._match
        self._hits[length] = self._hits[length] * MEMORY + is_hit
        self._guesses[length] = self._guesses[length] * MEMORY + 1

    def _append(self, token: int) -> None:
        self._tokens.append(token)
        at = len(self._tokens)
        pair = (self._tokens[-2], token) if at > 1 else None
        self._earlier.append(self._latest.get(pair, 0) if pair else 0)
        if pair:
            self._latest[pair] = at

    def _find(self) -> tuple[int, int]:
        """Return where the longest match with the end goes on, and its length; 0 for none."""
        best = (0, 0)
        for place in self._candidates():
            length = self._length(place)
            if length > best[1]:
                best = (place, length)
            if length == LONGEST:
                break
        return best

    def _candidates(self) -> Iterator[int]:
        """Yield the places after earlier occurrences of the last two tokens, the latest first."""
        place = len(self._tokens)
        for _ in range(MAX_CANDIDATES):
            place = self._earlier[place]
            if not place:
                return
            yield place

    def _length(self, place: int) -> int:
        """Return how many tokens before ``place`` equal those at the end, at most ``LONGEST``."""
        tokens, length = self._tokens, SHORTEST
        while length < min(LONGEST, place) and tokens[place - length - 1] == tokens[-length - 1]:
            length += 1
        return length


class DraftBudget:
    """Decides how many draft tokens pay, from what steps of so many rows have cost so far."""

    def __init__(self) -> None:
        self._costs: dict[int, Rate] = {}
        self._table: list[float] = []
        self._refused = 0

    def limit(self, running: int, acceptance: float) -> int:
        """Return the draft length that gives the most tokens per second, 0 where none pays.

        ``running``: sequences in the step, which all try as many; ``acceptance``: the probability
        that a draft token is right.
        """
        if not acceptance or not 0 < running < MAX_ROWS:
            return 0
        if not self._table:
            self._table = self._tabulate()
        best = _best(running, acceptance, self._table)
        return best or self._probe(running, acceptance)

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a step without prompt tokens: all its rows, and all the time it took."""
        if not 0 < rows <= MAX_ROWS:
            return
        cost = self._costs.setdefault(rows, Rate())
        cost.add(1, min(seconds, OUTLIER / cost.value) if cost.value else seconds)
        self._table = []

    def _probe(self, running: int, acceptance: float) -> int:
        """Try now and then what would pay if rows cost what they usually do."""
        usual = _best(running, acceptance, [_scale(rows) for rows in range(MAX_ROWS + 1)])
        self._refused += bool(usual)
        if not usual or self._refused < PROBE_EVERY:
            return 0
        self._refused = 0
        return usual

    def _tabulate(self) -> list[float]:
        """Return the seconds of a step for every number of rows; what is unknown is estimated."""
        known = {rows: 1 / cost.value for rows, cost in sorted(self._costs.items()) if cost.value}
        table = [_estimate(rows, known) for rows in range(MAX_ROWS + 1)]
        for rows in reversed(range(MAX_ROWS)):
            table[rows] = min(table[rows], table[rows + 1])  # fewer rows never cost more
        return table


def _best(running: int, acceptance: float, costs: Sequence[float]) -> int:
    best, best_speed = 0, GAIN / costs[running]
    expected, chance = 1.0, 1.0
    for length in range(1, MAX_ROWS // running):
        chance *= acceptance
        expected += chance
        if (speed := expected / costs[running * (1 + length)]) > best_speed:
            best, best_speed = length, speed
    return best


def _scale(rows: int) -> float:
    """Return what a step of ``rows`` rows usually costs, in steps of one row."""
    return 1 + ROW_SHARE * (rows - 1)


def _estimate(rows: int, known: dict[int, float]) -> float:
    """Return a step's cost from those of the nearest row counts, or from the usual shape."""
    if rows in known:
        return known[rows]
    below = max((r for r in known if r < rows), default=0)
    above = min((r for r in known if r > rows), default=0)
    if below and above:
        share = (rows - below) / (above - below)
        return known[below] + share * (known[above] - known[below])
    nearest = below or above
    return _scale(rows) * (known[nearest] / _scale(nearest) if nearest else 1.0)
