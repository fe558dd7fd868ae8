"""Which reports of an engine share a message.

A message wakes the agent, which takes a core from llama.cpp's threads for a moment, and with it
holds up the other threads, which wait for one another. So where steps are shorter than the time for
which tokens are gathered anyway, what nobody waits for goes out together.
"""

from collections.abc import Callable

from mesh.clock import Clock, monotonic
from workers.frame_writer import STREAM_WINDOW
from workers.llama.messages import Output, Step


class Reports:
    """Passes reports on: first tokens and ends at once, the rest within the window."""

    def __init__(self, send: Callable[[Step], None], clock: Clock = monotonic) -> None:
        self._send = send
        self._clock = clock
        self._steps: list[Step] = []
        self._due = clock()

    def add(self, step: Step) -> None:
        """Take the report of a step, and pass it on when it is time."""
        self._steps.append(step)
        is_due = self._clock() >= self._due
        # A step that computes prompts is long, and brings first tokens.
        if is_due or step.prefilled or step.evicted or any(map(_ends, step.outputs)):
            self.flush()

    def flush(self) -> None:
        """Pass on what is there: nothing else will come for a while."""
        if self._steps:
            self._due = self._clock() + STREAM_WINDOW
            steps, self._steps = self._steps, []
            self._send(_joined(steps))


def _ends(output: Output) -> bool:
    return output.reason is not None or output.failure is not None


def _joined(steps: list[Step]) -> Step:
    """Return what the steps did together, with the figures of the last."""
    last = steps[-1]
    if len(steps) == 1:
        return last
    return Step(
        outputs=tuple([output for step in steps for output in step.outputs]),
        prefilled=sum([step.prefilled for step in steps]),
        decoded=sum([step.decoded for step in steps]),
        kv_free=last.kv_free,
        prefill_rate=last.prefill_rate,
        decode_rate=last.decode_rate,
        evicted=tuple([attempt for step in steps for attempt in step.evicted]),
    )
