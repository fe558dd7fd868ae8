"""What a step, or a part of it, computes."""

from collections.abc import Sequence as Items
from typing import NamedTuple

from workers.llama.sequence import Work


class Load(NamedTuple):
    """Tokens of prompts, and streams that move on."""

    prompt: int = 0
    streams: int = 0


IDLE = Load()


def load_of(plan: Items[Work]) -> Load:
    """Return what works come to, before they are computed."""
    prompts = [work for work in plan if work.sequence.is_prefilling]
    return Load(sum([len(work.tokens) for work in prompts]), len(plan) - len(prompts))
