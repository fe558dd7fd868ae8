"""How many threads a training step takes, found by trying now and then.

Threads of one step wait for one another. On a machine that others use, too, one thread can thus be
quicker than two, and which is better changes from minute to minute.
"""

from __future__ import annotations

import torch

_EVERY = 60  # steps from one trial to the next
_TRIED = 4  # steps per thread count in a trial


class Threads:
    """Sets the number of threads, from one to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._best = most
        self._seconds = [0.0] * most
        self._tokens = [0] * most

    def set(self, step: int) -> None:
        """Choose for this step: each count in turn at a trial, else the best one."""
        place = step % _EVERY // _TRIED
        torch.set_num_threads(place + 1 if place < self._most else self._best)

    def took(self, step: int, seconds: float, tokens: int) -> None:
        """Hear how long the step took; at the end of a trial, pick the quickest."""
        place = step % _EVERY // _TRIED
        if place >= self._most:
            return
        self._seconds[place] += seconds
        self._tokens[place] += tokens
        if step % _EVERY == self._most * _TRIED - 1:
            costs = [s / max(t, 1) for s, t in zip(self._seconds, self._tokens, strict=True)]
            self._best = costs.index(min(costs)) + 1
            self._seconds, self._tokens = [0.0] * self._most, [0] * self._most
