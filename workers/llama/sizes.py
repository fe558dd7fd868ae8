"""How many sequences a model serves and how long they may be, where nobody has said so."""

from dataclasses import dataclass, replace

from workers.llama.drafts import MAX_ROWS
from workers.llama.fit import Footprint, choose_context, footprint, with_room
from workers.llama.gguf_header import Header

SLOTS = 4
"""Sequences at a time: more make each of them slower without much more in total on a CPU."""
LEAST_CONTEXT = 1024
"""Tokens per sequence below which memory does not push the context: chats would not fit."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a model is served with. context: tokens per sequence; batch: tokens per step at most."""

    slots: int
    context: int
    batch: int
    need: Footprint


def choose_sizes(
    header: Header, *, slots: int, context: int, context_cap: int, chunk: int, free: int
) -> Sizes:
    """Return the sizes for ``free`` bytes of memory.

    ``slots`` and ``context`` of 0 are chosen here: first fewer sequences, down to one, then shorter
    ones. Numbers that a person gave stay, even if they do not fit: the refusal names the figures.
    """
    longest = choose_context(header, wanted=context, cap=context_cap)
    counts = [slots] if slots else range(SLOTS, 0, -1)
    choices = [_sizes(header, count, longest, chunk) for count in counts]
    while not context and longest // 2 >= LEAST_CONTEXT:
        longest //= 2
        choices.append(_sizes(header, slots or 1, longest, chunk))
    chosen = next((c for c in choices if c.need.total <= free), choices[-1])
    return replace(chosen, need=with_room(chosen.need, free))


def num_rows(slots: int) -> int:
    """Return how many rows of logits a step may give: one a sequence, or those of drafts."""
    return max(slots, MAX_ROWS)


def _sizes(header: Header, slots: int, context: int, chunk: int) -> Sizes:
    batch = min(max(chunk, slots), context * slots)
    rows = num_rows(slots)
    need = footprint(header, context=context, slots=slots, batch=max(batch, rows), outputs=rows)
    return Sizes(slots=slots, context=context, batch=batch, need=need)
