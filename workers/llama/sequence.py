"""One attempt inside the engine: its tokens, how far they are computed, and when it ends."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import msgspec

from schemas.inference import Usage
from workers.llama.text import TextStream


class Sampler(Protocol):
    """Draws one sequence's tokens."""

    def sample(self, row: int) -> int:
        """Draw the next token from a row of the last step's logits."""
        ...

    def replay(self, token: int) -> None:
        """Take over a token that was sampled elsewhere."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(eq=False, kw_only=True, slots=True)
class Sequence:
    """Tokens of one attempt: the prompt, what was emitted before a resume, what is new.

    ``num_computed`` of them are in the KV cache. A sequence whose only missing token is the last
    one is decoding; with more missing it is in prefill, and the same rule serves both.
    """

    attempt: int
    slot: int
    tokens: list[int]
    num_prompt: int
    num_initial: int
    """Tokens given at the start: the prompt and what a resume replays."""
    max_length: int
    """Tokens at which the sequence ends for want of room or because enough were generated."""
    deadline: float
    text: TextStream
    sampler: Sampler
    num_computed: int = 0

    @property
    def num_pending(self) -> int:
        """Tokens not yet in the KV cache."""
        return len(self.tokens) - self.num_computed

    @property
    def is_prefilling(self) -> bool:
        """Whether given tokens are still to be computed."""
        return self.num_computed < self.num_initial

    @property
    def is_full(self) -> bool:
        """Whether no further token may be generated."""
        return len(self.tokens) >= self.max_length

    @property
    def usage(self) -> Usage:
        """What the attempt took so far; replayed tokens count as completion."""
        return Usage(
            prompt_tokens=self.num_prompt, completion_tokens=len(self.tokens) - self.num_prompt
        )

    def append(self, token: int) -> None:
        """Add a sampled token."""
        self.tokens.append(token)


class Work(msgspec.Struct, frozen=True):
    """A run of tokens of one sequence to be computed in a step."""

    sequence: Sequence
    tokens: Items[int]
    start: int
    """Position of the first of them."""
    sampled: bool
    """Whether the step ends with the logits of the sequence's last token."""
