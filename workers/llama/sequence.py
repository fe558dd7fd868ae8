"""One choice of an attempt: its tokens, how far they are computed, and when it ends."""

from collections.abc import Hashable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from workers.llama.drafts import Drafter
from workers.llama.voice import Item, Voice

NO_SLOT = -1


class Scores(Protocol):
    """What is found out about the tokens of a prompt while they are computed."""

    rows: int
    """Tokens to be computed in a step at most."""

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to find out."""
        ...

    def read(self, tokens: Items[int], start: int, count: int, row: int) -> None:
        """Read the ``count`` rows from ``row`` on, of the tokens from ``start`` on."""
        ...

    def take(self, tokens: Items[int]) -> list[Item] | None:
        """Return what was found out, once."""
        ...


class Sampler(Protocol):
    """Draws one sequence's tokens."""

    def sample(self, row: int) -> int:
        """Draw the next token from a row of the last step's logits."""
        ...

    def replay(self, token: int) -> None:
        """Take over a token that was sampled elsewhere."""

    def close(self) -> None:
        """Free what it holds."""


class Constraint(Protocol):
    """What one choice may say; ``is_complete``: nothing may follow but the end."""

    @property
    def is_complete(self) -> bool:
        """Whether the output is whole."""
        ...

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Forbid tokens in a row of logits ``[n_vocab]``, in place."""
        ...

    def accept(self, token: int) -> None:
        """Take the token that was drawn; raises ``InvalidRequest`` where it is forbidden."""
        ...

    def forced(self) -> list[int]:
        """Return the tokens that must come next, possibly none."""
        ...


@dataclass(eq=False, kw_only=True, slots=True)
class Sequence:
    """Tokens of one choice: the prompt, what was emitted before a resume, what is new.

    ``num_computed`` of them are in the KV cache. A sequence whose only missing token is the last
    one is decoding; with more missing it is in prefill, and the same rule serves both.
    """

    attempt: int
    index: int = 0
    """Which choice of the attempt."""
    is_background: bool = False
    """Whether it gives way to interactive attempts."""
    is_watched: bool = False
    """Whether somebody sees its tokens arrive, and so every pause between them."""
    domain: Hashable
    """With whom it may share what is computed."""
    tokens: list[int]
    num_prompt: int
    num_initial: int
    """Tokens given at the start: the prompt and what a resume replays."""
    max_length: int
    """Tokens at which the sequence ends for want of room or because enough were generated."""
    ends: frozenset[int]
    """Tokens that end the output and are no part of it."""
    voice: Voice
    sampler: Sampler
    constraint: Constraint | None = None
    scores: Scores | None = None
    """What is found out about the prompt's tokens, where that was asked for."""
    drafter: Drafter | None = None
    num_learnt: int = 0
    """Tokens that the drafter has been told of."""
    slot: int = NO_SLOT
    """Its stream in the KV cache, while it has one."""
    num_computed: int = 0
    heirs: list[int] = field(default_factory=list)
    """Ended attempts whose tokens live on in this sequence."""

    @property
    def num_pending(self) -> int:
        """Tokens not yet in the KV cache."""
        return len(self.tokens) - self.num_computed

    @property
    def is_prefilling(self) -> bool:
        """Whether given tokens are still to be computed."""
        return self.num_computed < self.num_initial

    @property
    def is_scoring(self) -> bool:
        """Whether every token of the prompt has to give a row of logits."""
        return self.scores is not None and not self.scores.is_complete

    @property
    def is_full(self) -> bool:
        """Whether no further token may be generated."""
        return len(self.tokens) >= self.max_length

    @property
    def num_generated(self) -> int:
        """Tokens of the answer; replayed ones count."""
        return len(self.tokens) - self.num_prompt


class Work(msgspec.Struct, frozen=True, gc=False):
    """A run of tokens of one sequence to be computed in a step."""

    sequence: Sequence
    tokens: Items[int]
    start: int
    """Position of the first of them."""
    num_rows: int = 0
    """How many of the last tokens give logits: none in the middle of a prompt, one at its end, and
    one more for every draft token."""
    padding: int = 0
    """Meaningless tokens that are computed after them and forgotten."""
    is_scored: bool = False
    """Whether the rows tell of the prompt's own tokens, all but the last of the prompt's end."""
