"""What a request costs in the cloud, and may cost at most; pure, in billionths of a US dollar."""

import math
from collections.abc import Sequence
from typing import Final

from schemas.fleet import Tariff
from schemas.inference import InferRequest, Task, Usage

NANO: Final = 1_000_000_000
_NANO_PER_MICRO: Final = 1000


def price(tariff: Tariff, usage: Usage) -> int:
    """Return what tokens cost, rounded up."""
    micro = usage.prompt_tokens * tariff.usd_per_million_in
    micro += usage.completion_tokens * tariff.usd_per_million_out
    return math.ceil(micro * _NANO_PER_MICRO)


def dearest(tariffs: Sequence[Tariff | None]) -> Tariff | None:
    """Return the highest of each price; ``None`` if one is unknown, or there is none."""
    known = [tariff for tariff in tariffs if tariff is not None]
    if not known or len(known) < len(tariffs):
        return None
    return Tariff(
        usd_per_million_in=max(tariff.usd_per_million_in for tariff in known),
        usd_per_million_out=max(tariff.usd_per_million_out for tariff in known),
        max_output=max(tariff.max_output for tariff in known),
    )


def most(request: InferRequest, size: int, tariff: Tariff) -> Usage:
    """Return the most tokens that a request can take in the cloud; ``size``: bytes of its body.

    No vocabulary has tokens of less than a byte, and the JSON around the turns is longer than what
    a chat template puts there.
    """
    if request.task is not Task.GENERATE:
        return Usage(prompt_tokens=size)
    limit = tariff.max_output if request.max_tokens is None else request.max_tokens
    return Usage(prompt_tokens=size, completion_tokens=max(0, limit) * request.n)
