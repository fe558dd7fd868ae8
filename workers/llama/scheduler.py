"""Which tokens the next step computes: running streams first, then prompts in the order given."""

from collections.abc import Callable, Iterable

from workers.llama.grain import ANY_NUMBER, Grain
from workers.llama.sequence import Sequence, Work

SPARE = 8
"""A step may be longer by one part of so many to finish a prompt: a small rest costs a step."""

Drafts = Callable[[Sequence, int], list[int]]
"""Returns tokens that a decoding sequence may go on with, given how many run beside it."""


def no_drafts(_sequence: Sequence, _streams: int) -> list[int]:
    """Guess nothing."""
    return []


def schedule(
    sequences: Iterable[Sequence],
    chunk: int,
    drafts: Drafts = no_drafts,
    grain: Grain = ANY_NUMBER,
    *,
    most: int = 0,
) -> list[Work]:
    """Return the work of one step.

    Every decoding sequence gets its token, whatever the prompts want; ``chunk`` bounds the step as
    a whole, but at least one prompt token is computed. The first prompt is finished before the
    next is begun, because two served in turn would both finish late. ``most``: tokens that a step
    can hold; a prompt that ends a little beyond the chunk is finished within these.
    """
    waiting: list[Sequence] = []
    plan: list[Work] = []
    for sequence in sequences:
        start = sequence.num_computed
        if len(sequence.tokens) - start == 1:
            plan.append(Work(sequence, sequence.tokens[start:], start, 1))
        else:
            waiting.append(sequence)
    if waiting:
        spare = max(0, min(chunk // SPARE, most - chunk))
        _fill(plan, waiting, max(1, chunk - len(plan)), spare, grain)
    elif plan:
        _speculate(plan, drafts, grain)
    return plan


def _fill(plan: list[Work], waiting: list[Sequence], room: int, spare: int, grain: Grain) -> None:
    """Add prompts, and the next one only where the last one is finished."""
    has_prompt = False
    for sequence in waiting:
        if room <= 0:
            break
        start, count = sequence.num_computed, sequence.num_pending
        if sequence.is_scoring:
            if not has_prompt:
                plan.append(_scored(sequence, room, plan))
            return  # its rows are all that a step can give
        has_prompt = True
        if count > room + spare:
            count = min(count, grain.piece(count, room))
        padding = grain.missing(count, start + count)
        tokens = sequence.tokens[start : start + count]
        is_whole = count == sequence.num_pending
        plan.append(Work(sequence, tokens, start, int(is_whole), padding))
        room -= count + padding
        if not is_whole:
            break


def _scored(sequence: Sequence, room: int, plan: Iterable[Work]) -> Work:
    """Return a piece of a prompt whose tokens all give logits; ``plan``: who is computed beside."""
    assert sequence.scores is not None, "it is being scored"  # noqa: S101
    start = sequence.num_computed
    # Prompts of which just the last token is missing share the call, and have a row each.
    rows = sequence.scores.rows - sum([work.sequence.is_prefilling for work in plan])
    tokens = sequence.tokens[start : start + min(room, rows)]
    return Work(sequence, tokens, start, len(tokens), is_scored=True)


def _speculate(plan: list[Work], drafts: Drafts, grain: Grain) -> None:
    """Add guesses to be verified; a step that computes prompts has no time for them.

    llama.cpp computes only sequences of equally many tokens together, so all of them guess equally
    far, or none does.
    """
    if plan[-1].sequence.is_background and not plan[0].sequence.is_background:
        return  # the guesses would be verified in interactive streams' time
    guesses: list[list[int]] = []
    for work in plan:
        if not (found := drafts(work.sequence, len(plan))):
            return
        guesses.append(found)
    shared = min([len(found) for found in guesses])
    # One sequence can be padded by itself; several together come in groups or they do not.
    padding = 0
    if len(plan) == 1:
        padding = grain.missing(1 + shared, len(plan[0].sequence.tokens) + shared)
    for at, (work, found) in enumerate(zip(plan, guesses, strict=True)):
        tokens = [*work.tokens, *found[:shared]]
        plan[at] = Work(work.sequence, tokens, work.start, len(tokens), padding)
