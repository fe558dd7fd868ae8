"""In how many calls of llama.cpp a step is computed. Pure.

llama.cpp computes neighbours in the KV cache together where all have equally many tokens in the
batch. So running streams, with a token or as many guesses each, have a call of their own, and
prompts have another; in both the sequences stand in the order of their places in the cache.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Items

from workers.llama.sequence import Work


def calls_of(plan: Items[Work]) -> list[list[Work]]:
    """Return the works of a step call by call, running streams first."""
    if len(plan) == 1:
        return [[*plan]]
    prompts = [work for work in plan if work.sequence.is_prefilling]
    if not prompts:
        return [_in_order(plan)]
    streams = [work for work in plan if not work.sequence.is_prefilling]
    return [_in_order(works) for works in (streams, prompts) if works]


def _in_order(works: Iterable[Work]) -> list[Work]:
    return sorted(works, key=lambda work: work.sequence.slot)
