"""The KV cache between its sequences: who has which id, what is shared, kept and evicted.

Running sequences are guaranteed their room by whoever admits them; what is kept of ended and of
paused ones takes only what they leave, and gives way as soon as they need it: that of background
attempts first, then the least recently used.
"""

from collections.abc import Hashable, Iterable
from typing import Protocol

from workers.llama.cells import Cells, Span
from workers.llama.prefixes import Holder, Kept, Match, Prefixes, best_match
from workers.llama.sequence import Sequence

MIN_SHARED = 16
"""Tokens in common for which it is worth to wait until another sequence has computed them."""


class Store(Protocol):
    """What llama.cpp does to whole sequences."""

    def share(self, source: int, target: int, length: int) -> bool:
        """Give an empty sequence the first cells of another; return whether that was possible."""
        ...

    def trim(self, slot: int, length: int) -> bool:
        """Shorten a sequence; return whether that was possible."""
        ...

    def forget(self, slot: int) -> None:
        """Empty a sequence."""
        ...


class KvCache:
    """Gives sequences their place; ``evicted`` collects ended attempts whose tokens are gone."""

    def __init__(self, store: Store, *, ids: int, cells: int) -> None:
        """``ids``: sequences that llama.cpp can tell apart; ``cells``: tokens it holds."""
        self._store = store
        self._free = list(range(ids))
        self.cells = Cells(cells)
        self.prefixes = Prefixes()
        self.evicted: list[int] = []
        self.can_reuse = True
        """Whether the model's memory can be cut: recurrent ones keep one state, not one per token.
        """

    @property
    def num_free_ids(self) -> int:
        """Sequences that could be placed."""
        return len(self._free) + len(self.prefixes)

    def match(self, sequence: Sequence, running: Iterable[Sequence]) -> Match:
        """Return the best beginning for a sequence; its last token is computed in any case."""
        if not self.can_reuse:
            return Match()
        holders: Iterable[Holder] = [*running, *self.prefixes]
        return best_match(sequence.domain, sequence.tokens, len(sequence.tokens) - 1, holders)

    def place(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence an id and the cells of its match."""
        holder = match.holder
        if isinstance(holder, Kept) and _may_take_over(sequence, holder, match):
            self._take_over(sequence, holder)
            return
        # Whose beginning is shared is no younger for it: the new sequence holds that, too.
        sequence.slot = self._new_id()
        if holder is None or (isinstance(holder, Kept) and not self.prefixes.holds(holder)):
            sequence.end = Span()
        elif self._store.share(holder.slot, sequence.slot, match.length):
            sequence.end = self.cells.fork(holder.end, holder.num_computed - match.length)
            sequence.num_computed = match.length
        else:
            sequence.end = Span()

    def make_room(self, count: int) -> None:
        """Evict until ``count`` cells are free, or nothing is left to evict."""
        while self.cells.free < count and self.prefixes:
            self._evict(self.prefixes.oldest())

    def grow(self, sequence: Sequence, count: int) -> None:
        """Note that ``count`` more tokens of a sequence were computed."""
        sequence.num_computed += count
        sequence.end.length += count
        self.cells.used += count

    def take_back(self, sequence: Sequence, count: int) -> None:
        """Remove the last ``count`` tokens that were computed in vain."""
        sequence.num_computed -= count
        self.cells.grow(sequence.end, -count)
        self._store.trim(sequence.slot, sequence.num_computed)

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """End a sequence; ``keep``: its tokens stay, as long as nobody needs the room."""
        kept = Kept(
            domain=sequence.domain,
            slot=sequence.slot,
            tokens=sequence.tokens[: sequence.num_computed],
            end=sequence.end,
            heirs=sequence.heirs,
            gives_way=sequence.is_background,
        )
        sequence.slot, sequence.heirs = -1, []
        if keep and kept.tokens and self.can_reuse:
            self._keep(kept)
        else:
            self._clear(kept)

    def pause(self, sequence: Sequence) -> None:
        """Take a sequence's place away; it goes on from what is then still kept of it."""
        self.leave(sequence, keep=True)
        sequence.num_computed = 0

    def discard(self, domain: Hashable) -> None:
        """Forget what is kept for a domain."""
        for kept in [kept for kept in self.prefixes if kept.domain == domain]:
            self._evict(kept)

    def _keep(self, kept: Kept) -> None:
        """Keep a sequence once: a beginning of another lives on in that."""
        for other in self.prefixes.covered_by(kept):
            kept.heirs += other.heirs
            kept.gives_way &= other.gives_way
            other.heirs = []
            self._evict(other)
        for other in self.prefixes:
            if other.domain == kept.domain and other.tokens[: len(kept.tokens)] == kept.tokens:
                other.heirs += kept.heirs
                other.gives_way &= kept.gives_way
                kept.heirs = []
                self.prefixes.keep(other)
                self._clear(kept)
                return
        self.prefixes.keep(kept)

    def _take_over(self, sequence: Sequence, kept: Kept) -> None:
        self.prefixes.drop(kept)
        sequence.slot, sequence.end = kept.slot, kept.end
        sequence.num_computed = len(kept.tokens)
        sequence.heirs = kept.heirs

    def _new_id(self) -> int:
        if not self._free:
            self._evict(self.prefixes.oldest())
        return self._free.pop()

    def _evict(self, kept: Kept) -> None:
        self.prefixes.drop(kept)
        self._clear(kept)

    def _clear(self, kept: Kept) -> None:
        self._store.forget(kept.slot)
        self.cells.release(kept.end)
        self._free.append(kept.slot)
        self.evicted += kept.heirs


def _may_take_over(sequence: Sequence, kept: Kept, match: Match) -> bool:
    """Tell whether a sequence goes on from all of what was kept, so that it need not stay apart.

    A conversation does not become background work because some of that begins in the same way.
    """
    is_whole = match.length == len(kept.tokens)
    return is_whole and (kept.gives_way or not sequence.is_background)


def domain_of(tenant: str, attempt: int, *, cache_prompt: bool) -> Hashable:
    """Return with whom an attempt shares: all of its tenant's, or only its own choices."""
    return tenant if cache_prompt else attempt
