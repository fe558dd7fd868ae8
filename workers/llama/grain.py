"""How many rows a step should have, where llama.cpp computes them in groups. Pure.

The CPU kernels for repacked weights (ggml's ``ggml_gemm_*``) take four rows at a time and read the
weights once for them; each row that is left over reads them once more. Measured, 300 M parameters
in Q4_0: 3 rows take 11.7 ms and 4 take 8.4; 15 take 32, 16 take 23; a prompt of 31 tokens takes 38
ms, one of 32 takes 31. So rows that nobody needs are added where that is cheaper.

Attention is computed in tiles of 64 rows, and row by row below. With 2,000 tokens to look back on
64 rows take 135 ms, but 32 take 165.
"""

import msgspec

GROUP = 4
TILE = 64
"""ggml's ``GGML_FA_TILE_Q``."""
FEW = 4
"""Rows up to which two left over are as cheap as a group."""
MANY = 16
"""Rows from which on a further group is cheaper than a single row left over."""


class Grain(msgspec.Struct, frozen=True):
    """size: rows of a group, 1 where their number does not matter. depth: tokens of a sequence."""

    size: int = 1
    depth: int = 0

    def missing(self, rows: int, end: int = 0) -> int:
        """Return how many rows to add to so many, where they go on from ``end`` tokens."""
        if self.size == 1:
            return 0
        left = rows % self.size
        is_worth_it = left == 3 or (left == 2 and rows > FEW) or (left == 1 and rows > MANY)
        added = self.size - left if is_worth_it else 0
        return added if end + added <= self.depth else 0

    def piece(self, pending: int, room: int) -> int:
        """Return how many of a prompt's rows to compute now, where there is no room for all.

        The odd ones come first, while they look back on little, so that the rest is whole tiles.
        """
        if self.size == 1:
            return room
        rows = room - (room - pending) % TILE
        return rows if rows > 0 else max(self.size, room - room % self.size)


ANY_NUMBER = Grain()
"""Where every number of rows is as good."""
