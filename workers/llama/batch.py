"""The tokens of one step, laid out in memory as llama.cpp reads them."""

import ctypes
from collections.abc import Sequence
from typing import Any

from workers.llama.sequence import Work


class Batch:
    """A ``llama_batch`` in memory that is allocated once and filled anew for every step.

    Every token belongs to one sequence, so the lists of sequence ids are pointers into one array.
    """

    def __init__(self, native: Any, capacity: int, slots: int) -> None:
        """``native``: an empty ``llama_batch``; ``capacity``: tokens per step at most."""
        self._tokens = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)
        self._owners = (ctypes.c_void_p * capacity)()
        self._outputs = (ctypes.c_int8 * capacity)()
        self._slots = (ctypes.c_int32 * slots)(*range(slots))
        native.token = self._tokens
        native.pos = self._positions
        native.n_seq_id = self._counts
        native.seq_id = ctypes.cast(self._owners, type(native.seq_id))
        native.logits = self._outputs
        self.native = native

    def fill(self, plan: Sequence[Work]) -> list[int]:
        """Lay out a step; return the rows whose logits are wanted, in the plan's order."""
        rows: list[int] = []
        end = 0
        for work in plan:
            start, end = end, end + len(work.tokens)
            count = end - start
            self._tokens[start:end] = list(work.tokens)
            self._positions[start:end] = list(range(work.start, work.start + count))
            self._owners[start:end] = [self._owner(work.sequence.slot)] * count
            self._outputs[start:end] = [0] * count
            if work.sampled:
                self._outputs[end - 1] = 1
                rows.append(end - 1)
        self.native.n_tokens = end
        return rows

    def _owner(self, slot: int) -> int:
        """Return the address of the list that holds just this slot."""
        return ctypes.addressof(self._slots) + slot * ctypes.sizeof(ctypes.c_int32)
