"""Conversations into padded batches, with the mask of what the model has to say itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.spark.chat import render
from models.spark.corpus import stream
from models.spark.tokenizer import END

_POOL = 512  # conversations sorted by length together, so that little is padded
_ROUND = 16  # lengths are rounded up to this, so that few shapes occur


@dataclass(frozen=True)
class Batch:
    """Token ids [rows, time] and which of them carry loss."""

    tokens: Tensor
    spoken: Tensor


Row = tuple[list[int], list[bool]]


class Encoder:
    """Text into ids and mask: the assistant's tokens and its end of turn count."""

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._head = tokenizer.encode("<|im_start|>assistant\n").ids
        self._end = tokenizer.token_to_id(END)

    def row(self, text: str) -> Row:
        ids = self._tokenizer.encode(text).ids[: self._context]
        spoken, speaking = [False] * len(ids), False
        for place, token in enumerate(ids):
            spoken[place] = speaking
            if token == self._end:
                speaking = False
            elif ids[place - 2 : place + 1] == self._head:
                speaking = True
        return ids, spoken


def _pad(rows: list[Row], end: int) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    # One more than a multiple: the network sees all but the last token.
    time = -(-(longest - 1) // _ROUND) * _ROUND + 1
    tokens = torch.full((len(rows), time), end)
    spoken = torch.zeros((len(rows), time), dtype=torch.bool)
    for place, (ids, mask) in enumerate(rows):
        tokens[place, : len(ids)] = torch.tensor(ids)
        spoken[place, : len(ids)] = torch.tensor(mask)
    return Batch(tokens, spoken)


def _cut(rows: list[Row], size: int, end: int) -> Iterator[Batch]:
    """Rows sorted by length into batches of at most `size` tokens, but at least two rows."""
    taken: list[Row] = []
    for row in rows:
        if len(taken) >= 2 and len(row[0]) * (len(taken) + 1) > size:
            yield _pad(taken, end)
            taken = []
        taken.append(row)
    if len(taken) > 1:
        yield _pad(taken, end)


def batches(tokenizer: Tokenizer, *, seed: int, size: int, context: int) -> Iterator[Batch]:
    """Batches without end, the same for the same seed."""
    encoder, random = Encoder(tokenizer, context), Random(seed)
    source = stream(seed)
    while True:
        rows = [encoder.row(render(chat)) for chat in islice(source, _POOL)]
        rows.sort(key=lambda row: len(row[0]))
        pool = list(_cut(rows, size, tokenizer.token_to_id(END)))
        random.shuffle(pool)
        yield from pool
