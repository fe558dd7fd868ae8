"""What the engine process drives, whatever it computes: a loop of steps between orders."""

from typing import Protocol

from workers.llama.messages import Cancel, Step, Submit


class Steps(Protocol):
    """Takes orders at any time, computes one step at a time, and reports after each."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute, to report or to keep."""
        ...

    @property
    def patience(self) -> float | None:
        """Seconds until the next step is due if no order comes before; ``None``: none is."""
        ...

    def handle(self, message: Submit | Cancel) -> None:
        """Take an order; its effect shows in the next step, which it causes in any case."""
        ...

    def step(self) -> Step:
        """Compute one step and report what became of every attempt."""
        ...

    def report(self) -> Step:
        """Return the outputs so far with the figures of the moment, and start afresh."""
        ...

    def warm_up(self) -> None:
        """Touch all weights once, then measure first rates."""
        ...
