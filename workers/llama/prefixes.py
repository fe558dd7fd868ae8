"""Which sequence begins like a new one, and which ended ones are kept. Pure."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from workers.llama.bank import Span

STRIDE = 64
"""Tokens that are compared at once."""


class Holder(Protocol):
    """A sequence that is computed, or kept."""

    domain: Hashable
    """Only sequences of the same domain may share: a tenant's, or one attempt's."""
    tokens: list[int]

    @property
    def num_computed(self) -> int:
        """How many of its tokens are computed."""
        ...


class Kept(msgspec.Struct, eq=False, kw_only=True):
    """A sequence that nobody computes any more: a ``Holder`` of all its tokens."""

    domain: Hashable
    tokens: list[int]
    end: Span
    """Its keys and values."""
    heirs: list[int]
    """Ended attempts whose tokens live on in this sequence."""
    gives_way: bool = False
    """Whether it goes first when room is needed: only background attempts have a use for it."""

    @property
    def num_computed(self) -> int:
        """All of its tokens are computed."""
        return len(self.tokens)


class Match(msgspec.Struct, frozen=True):
    """The best beginning there is: ``length`` tokens of ``holder``.

    coming: how many there will be once sequences that are being computed have got that far.
    """

    holder: Holder | None = None
    length: int = 0
    coming: int = 0


class Prefixes:
    """The kept sequences, the least recently used first."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept.values())

    def keep(self, kept: Kept) -> None:
        """Add a sequence, or note that it was used just now."""
        self._kept.pop(id(kept), None)
        self._kept[id(kept)] = kept

    def drop(self, kept: Kept) -> None:
        """Remove a sequence."""
        del self._kept[id(kept)]

    def oldest(self) -> Kept:
        """Return what was not used for the longest time; what gives way comes before the rest."""
        kept = self._kept.values()
        return next((each for each in kept if each.gives_way), None) or next(iter(kept))

    def covered_by(self, holder: Holder) -> list[Kept]:
        """Return the kept sequences that are nothing but a beginning of another."""
        return [
            kept
            for kept in self._kept.values()
            if kept.domain == holder.domain
            and len(kept.tokens) <= holder.num_computed
            and holder.tokens[: len(kept.tokens)] == kept.tokens
        ]

    def that_begins_with(self, domain: Hashable, tokens: list[int]) -> Kept | None:
        """Return a kept sequence that has all of these tokens, if there is one."""
        for kept in self._kept.values():
            if kept.domain == domain and kept.tokens[: len(tokens)] == tokens:
                return kept
        return None


def best_match(
    domain: Hashable,
    tokens: Sequence[int],
    limit: int,
    holders: Iterable[Holder],
    *,
    whole: bool = False,
) -> Match:
    """Return who holds the most of the first ``limit`` tokens, among holders of the domain.

    ``whole``: only all that a holder has is of use.
    """
    best: Holder | None = None
    length = coming = 0
    for holder in holders:
        if holder.domain != domain:
            continue
        common = min(limit, common_prefix(tokens, holder.tokens))
        if whole and common < len(holder.tokens):
            continue
        coming = max(coming, common)
        available = min(common, holder.num_computed)
        if available > length:
            best, length = holder, available
    return Match(best, length, coming)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    end = min(len(left), len(right))
    at = 0
    while at < end and left[at : at + STRIDE] == right[at : at + STRIDE]:
        at += STRIDE
    while at < end and left[at] == right[at]:
        at += 1
    return min(at, end)
