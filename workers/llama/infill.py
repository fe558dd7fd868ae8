"""How a gap is laid out for models that were trained to fill it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Infill:
    """The control tokens that tell a model what comes before a gap, what after it, and to fill it.

    The order is prefix, suffix, middle, as llama-server's ``/infill`` has it: what is typed before
    the gap then changes little of what was computed. bos: where texts begin with it.
    """

    prefix: int
    suffix: int
    middle: int
    bos: int | None = None

    def place(self, before: Sequence[int]) -> range:
        """Return where the tokens before the gap stand in the prompt."""
        start = 1 if self.bos is None else 2
        return range(start, start + len(self._bare(before)))

    def arrange(self, before: Sequence[int], after: Sequence[int]) -> list[int]:
        """Return the prompt whose continuation is what belongs between the two."""
        head = [self.prefix] if self.bos is None else [self.bos, self.prefix]
        return [*head, *self._bare(before), self.suffix, *after, self.middle]

    def _bare(self, before: Sequence[int]) -> Sequence[int]:
        """Return what comes before the gap without the BOS that who sends tokens puts first."""
        begins = self.bos is not None and before[:1] and before[0] == self.bos
        return before[1:] if begins else before
