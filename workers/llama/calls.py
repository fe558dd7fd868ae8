"""In how many calls of llama.cpp a step is computed. Pure.

On a CPU llama.cpp computes attention row by row, and looks at the cells of a row's own sequence
only. From ``TILE`` rows on it computes tiles of so many rows, and passes over cells that none of a
tile's rows looks at. Tiles make prompts cheaper; but a tile with rows of several streams looks at
everything that any of them has in the cache. So where a prompt fills a tile, the streams get a call
of their own: that reads the weights once more, which costs less.
"""

from collections.abc import Sequence as Items

from workers.llama.sequence import Work

TILE = 64
"""ggml's ``GGML_FA_TILE_Q``."""


def calls_of(plan: Items[Work], tile: int) -> list[Items[Work]]:
    """Return the works of a step call by call; ``tile``: 0 where a call is always cheaper."""
    prompts = [work for work in plan if work.sequence.is_prefilling]
    if not tile or len(prompts) == len(plan) or sum([len(w.tokens) for w in prompts]) < tile:
        return [plan]
    return [[work for work in plan if not work.sequence.is_prefilling], prompts]
