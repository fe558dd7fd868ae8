"""Which reports of an engine share a message.

A message wakes the agent, which takes a core from llama.cpp's threads for a moment, and with it
holds up the other threads, which wait for one another. So where steps are shorter than the time for
which tokens are gathered anyway, what nobody waits for goes out together.
"""

from collections.abc import Callable

from mesh.clock import Clock, monotonic
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.settings import STREAM_WINDOW

PATIENCE = 0.1
"""Seconds between reports while nobody watches tokens arrive."""


class Reports:
    """Passes reports on: ends and first tokens of streams at once, the rest within a window."""

    def __init__(self, send: Callable[[Step], None], clock: Clock = monotonic) -> None:
        self._send = send
        self._clock = clock
        self._steps: list[Step] = []
        self._sent_at = clock() - PATIENCE
        self._streams: set[int] = set()
        """Attempts whose tokens somebody watches."""

    def expect(self, order: Submit | Cancel) -> None:
        """Take note of who comes and goes; a prompt takes long, so what is there goes out first."""
        if isinstance(order, Submit):
            self.flush()
            if order.request.stream:
                self._streams.add(order.attempt)
        elif isinstance(order, Cancel):
            self._streams.discard(order.attempt)

    def add(self, step: Step) -> None:
        """Take the report of a step, and pass it on when it is time."""
        self._steps.append(step)
        ended = [output.attempt for output in step.outputs if _is_end(output)]
        # A step that computes prompts is long, and brings first tokens.
        has_first = step.prefilled and self._streams
        window = STREAM_WINDOW if self._streams else PATIENCE
        if ended or has_first or step.evicted or self._clock() - self._sent_at >= window:
            self._streams.difference_update(ended)
            self.flush()

    def flush(self) -> None:
        """Pass on what is there: nothing else will come for a while."""
        if self._steps:
            self._sent_at = self._clock()
            steps, self._steps = self._steps, []
            self._send(_joined(steps))


def _is_end(output: Output) -> bool:
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
