"""How likely the model found the tokens of a prompt, row by row as these are computed.

Each row of logits tells of the token after it. The context gives few rows a step, so such a prompt
is computed in small pieces, and from its beginning: of tokens in a cache there are no rows.
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import Final

from msgspec.structs import replace

from workers.llama.logprobs import alternatives, entry, log_sum
from workers.llama.masking import Logits
from workers.llama.messages import Output
from workers.llama.sequence import Sequence
from workers.llama.voice import Item

MOST_SCORES: Final = 50_000
"""Log-probabilities and alternatives of a prompt that travel in one message: some 5 MB."""


class PromptScores:
    """The log-probabilities of a part of a prompt; the first token has none, as OpenAI has it."""

    def __init__(
        self,
        shown: range,
        logits: Logits,
        piece: Callable[[int], bytes],
        *,
        count: int,
        rows: int,
    ) -> None:
        """``shown``: places of the tokens; ``count``: alternatives; ``rows``: of a step at most."""
        self.rows = rows
        self._shown, self._logits, self._piece, self._count = shown, logits, piece, count
        self._items: list[Item] = []
        self._taken = False

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to find out."""
        return self._next >= self._shown.stop

    def read(self, tokens: Items[int], start: int, count: int, row: int) -> None:
        """Read ``count`` rows from ``row`` on: of the tokens from ``start`` on.

        A prompt may be computed anew from its beginning; what is known then is passed over.
        """
        for offset in range(count):
            place = start + offset + 1
            if place == self._next and place < self._shown.stop:
                self._items.append(self._item(tokens[place], row + offset))

    def take(self, tokens: Items[int]) -> list[Item] | None:
        """Return all of them, once; ``None`` ever after."""
        if self._taken or not self._shown:
            return None
        self._taken = True
        first = entry(self._piece(tokens[self._shown.start]), None)
        return [{**first, "top_logprobs": []}, *self._items]

    @property
    def _next(self) -> int:
        return self._shown.start + 1 + len(self._items)

    def _item(self, token: int, row: int) -> Item:
        raw = self._logits(row)
        scale = log_sum(raw)
        top = alternatives(raw, scale, self._piece, self._count)
        return {**entry(self._piece(token), float(raw[token]) - scale), "top_logprobs": top}


def told(sequence: Sequence, output: Output) -> Output:
    """Add what was found out about the prompt to a choice's first output."""
    if sequence.scores is None or (items := sequence.scores.take(sequence.tokens)) is None:
        return output
    return replace(output, prompt_logprobs=items)
