"""Which tokens the next step computes: running streams first, then prompts in order of arrival."""

from collections.abc import Iterable

from workers.llama.sequence import Sequence, Work


def schedule(sequences: Iterable[Sequence], chunk: int) -> list[Work]:
    """Return the work of one step.

    Every decoding sequence gets its token, whatever the prompts want; ``chunk`` bounds the step as
    a whole, but at least one prompt token is computed. The oldest prompt goes first, because two
    prompts served in turn would both finish late.
    """
    waiting: list[Sequence] = []
    plan: list[Work] = []
    for sequence in sequences:
        if sequence.num_pending == 1:
            plan.append(_work(sequence, 1))
        else:
            waiting.append(sequence)
    room = max(1, chunk - len(plan))
    for sequence in waiting:
        if room == 0:
            break
        count = min(room, sequence.num_pending)
        plan.append(_work(sequence, count))
        room -= count
    return plan


def _work(sequence: Sequence, count: int) -> Work:
    start = sequence.num_computed
    return Work(
        sequence=sequence,
        tokens=sequence.tokens[start : start + count],
        start=start,
        sampled=count == sequence.num_pending,
    )
