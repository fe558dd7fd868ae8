"""One attempt inside the engine: its choices, and what becomes of them together."""

from dataclasses import dataclass, field

from schemas.inference import FinishReason, Usage
from workers.llama.sequence import Sequence


@dataclass(eq=False, kw_only=True, slots=True)
class Attempt:
    """An attempt ends when all of its choices have; the first one's end is how it ended."""

    number: int
    deadline: float
    arrived: float = 0.0
    is_background: bool = False
    """Whether it gives way to interactive attempts."""
    keeps_cache: bool
    """Whether its tokens may stay in the KV cache when it has ended."""
    choices: list[Sequence]
    open: list[Sequence] = field(default_factory=list)
    """The choices that have not ended, in order."""
    num_cached: int | None = None
    """Tokens of the prompt that were not computed for the first choice, once it has a place."""
    reason: FinishReason = "stop"

    def __post_init__(self) -> None:
        self.open = list(self.choices)

    @property
    def first(self) -> Sequence:
        """The choice that is guaranteed its place: the first that has not ended."""
        return self.open[0]

    @property
    def has_several(self) -> bool:
        """Whether outputs must say which choice they end."""
        return len(self.choices) > 1

    @property
    def usage(self) -> Usage:
        """What the attempt took so far; the prompt counts once, replayed tokens as completion."""
        return Usage(
            prompt_tokens=self.choices[0].num_prompt,
            completion_tokens=sum(choice.num_generated for choice in self.choices),
            cached_tokens=self.num_cached or 0,
        )
