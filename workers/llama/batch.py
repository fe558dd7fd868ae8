"""The tokens of one step, laid out in memory as llama.cpp reads them."""

import ctypes
from collections.abc import Sequence
from typing import Any

from workers.llama.sequence import Work


class Batch:
    """A ``llama_batch`` in memory that is allocated once and filled anew for every step.

    Every token belongs to one sequence, so the lists of sequence ids are pointers into one array.
    """

    def __init__(self, native: Any, capacity: int, sequences: int) -> None:
        """``native``: an empty ``llama_batch``; ``capacity``: tokens per step at most."""
        self._tokens = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)
        self._owners = (ctypes.c_void_p * capacity)()
        self._outputs = (ctypes.c_int8 * capacity)()
        self._ids = (ctypes.c_int32 * sequences)(*range(sequences))
        first, size = ctypes.addressof(self._ids), ctypes.sizeof(ctypes.c_int32)
        self._addresses = [first + number * size for number in range(sequences)]
        """Of the lists that hold just one sequence's id."""
        native.token = self._tokens
        native.pos = self._positions
        native.n_seq_id = self._counts
        native.seq_id = ctypes.cast(self._owners, type(native.seq_id))
        native.logits = self._outputs
        self.native = native

    def fill(self, plan: Sequence[Work], idle: Sequence[int] = ()) -> list[int]:
        """Lay out a step; return for each work its first row of logits (-1: it has none).

        idle: empty streams that get a meaningless token each, where all others have one, too.
        """
        if sum([len(work.tokens) + work.padding for work in plan]) == len(plan):
            return self._fill_singles(plan, idle)
        rows: list[int] = []
        end = 0
        for work in plan:
            start, first = end, end + len(work.tokens) - work.num_rows
            count = len(work.tokens) + work.padding
            end += count
            self._tokens[start:end] = [*work.tokens, *[work.tokens[-1]] * work.padding]
            self._positions[start:end] = list(range(work.start, work.start + count))
            self._owners[start:end] = [self._addresses[work.sequence.slot]] * count
            # Of drafts the padding has logits, too: the output's weights are computed in groups.
            last = work.padding if work.num_rows > 1 else 0
            flags: list[Any] = [0] * (first - start) + [1] * (work.num_rows + last)
            self._outputs[start:end] = flags + [0] * (work.padding - last)
            rows.append(first if work.num_rows else -1)
        self.native.n_tokens = end
        return rows

    def _fill_singles(self, plan: Sequence[Work], idle: Sequence[int]) -> list[int]:
        """Lay out a step in which every sequence has one token, which is most of them."""
        count = len(plan)
        addresses = self._addresses
        self._tokens[:count] = [work.tokens[0] for work in plan]
        self._positions[:count] = [work.start for work in plan]
        self._owners[:count] = [addresses[work.sequence.slot] for work in plan]
        flags: list[Any] = [work.num_rows for work in plan]
        self._outputs[:count] = flags
        end = self.native.n_tokens = count + len(idle)
        if idle:
            self._tokens[count:end] = self._positions[count:end] = [0] * len(idle)
            self._owners[count:end] = [addresses[slot] for slot in idle]
            self._outputs[count:end] = [1] * len(idle)
        return list(range(count))
