"""Who is in the KV cache and what is kept beside it.

Every running sequence has one of llama.cpp's streams, a part of the cache of its own, so that a
step looks at nobody else's tokens, however much is kept. What ended and paused sequences leave
moves to the ``Bank``, where common beginnings are held once, and comes back from there: that is a
hundred times quicker than computing it. When the bank is full, what background attempts left goes
first, then the least recently used.
"""

from bisect import insort
from collections.abc import Hashable, Iterable
from collections.abc import Sequence as Items
from enum import Enum, auto
from typing import Protocol

from workers.llama.bank import Bank, Rows, Span, rows_of
from workers.llama.prefixes import Holder, Kept, Match, Prefixes, best_match
from workers.llama.sequence import NO_SLOT, Sequence
from workers.llama.streams import Cells, Remains, Streams

MIN_SHARED = 16
"""Tokens in common for which it is worth to wait until another sequence has computed them."""
MAX_KEPT = 256
"""Sequences that are kept at most: each is compared with every newcomer."""


class Reuse(Enum):
    """What can be done with what a model's memory holds of a sequence."""

    PART = auto()
    """Any beginning can be used again."""
    WHOLE = auto()
    """All of it can be used again: there is one state, or a window, and not one row per token."""
    NONE = auto()
    """It cannot be saved."""


class Store(Cells, Protocol):
    """What llama.cpp does to whole sequences."""

    def save(self, slot: int, start: int, stop: int) -> Rows | None:
        """Return the rows of a part of a sequence, ``None`` if that was not possible.

        One that cannot be cut is returned whole, whatever ``start`` is.
        """
        ...

    def restore(self, slot: int, parts: Items[Rows]) -> bool:
        """Fill an empty sequence; return whether that was possible."""
        ...

    def move(self, source: int, target: int) -> bool:
        """Give a sequence an empty one's place; return whether that was possible."""
        ...


class KvCache:
    """Gives sequences their place; ``evicted`` collects ended attempts whose tokens are gone."""

    def __init__(self, store: Store, *, streams: int, room: int) -> None:
        """``streams``: sequences that are computed at a time; ``room``: bytes for what is kept."""
        self._store = store
        self.streams = Streams(store, streams)
        self.bank = Bank(room)
        self.prefixes = Prefixes()
        self.evicted: list[int] = []
        self.reuse = Reuse.PART
        self._leaving: list[tuple[Sequence, int]] = []
        """Ended sequences, and the streams that still hold them."""

    @property
    def is_settled(self) -> bool:
        """Whether all that is to be kept is."""
        return not self._leaving

    def match(self, sequence: Sequence, running: Iterable[Sequence]) -> Match:
        """Return the best beginning for a sequence; its last token is computed in any case."""
        if self.reuse is Reuse.NONE or sequence.is_scoring:
            return Match()
        is_whole = self.reuse is Reuse.WHOLE
        holders: list[Holder] = [*self.prefixes]
        if not is_whole:
            holders = [*running, *holders]
        limit = len(sequence.tokens) - 1
        return best_match(sequence.domain, sequence.tokens, limit, holders, whole=is_whole)

    def go_on(self, sequence: Sequence) -> bool:
        """Give a sequence the stream of one that has ended, and that is all its beginning.

        So the next turn of a conversation that comes at once finds it where it was, and nothing is
        moved. Returns false if there is no such stream, or something better is kept.
        """
        if not self._leaving:
            return False
        match = self.match(sequence, [ended for ended, _ in self._leaving])
        for number, (ended, slot) in enumerate(self._leaving):
            if ended is match.holder and match.length == ended.num_computed:
                del self._leaving[number]
                sequence.slot, sequence.num_computed = slot, match.length
                sequence.heirs += ended.heirs
                ended.heirs = []
                return True
        return False

    def place(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence a stream, and what it has in common with its match."""
        kept = self._kept(match)
        beginning = Remains(sequence.domain, sequence.tokens[: match.length] if kept else [])
        is_whole = self.reuse is Reuse.WHOLE
        sequence.slot, held = self.streams.take(beginning, whole=is_whole)
        if kept is not None and not held:
            is_restored = self._store.restore(sequence.slot, rows_of(kept.end, match.length))
            held = match.length if is_restored else 0
        sequence.num_computed = held

    def grow(self, sequence: Sequence, count: int) -> None:
        """Note that ``count`` more tokens of a sequence were computed."""
        sequence.num_computed += count

    def take_back(self, sequence: Sequence, count: int) -> None:
        """Remove the last ``count`` tokens that were computed in vain."""
        sequence.num_computed -= count
        self._store.trim(sequence.slot, sequence.num_computed)

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """End a sequence; ``keep``: its tokens stay, as long as nobody needs the room.

        They are not moved before ``settle``, because somebody waits for the answer's end.
        """
        slot, sequence.slot = sequence.slot, NO_SLOT
        if keep:
            self._leaving.append((sequence, slot))
            return
        self.evicted += sequence.heirs
        sequence.heirs = []
        self.streams.give_back(slot)

    def settle(self) -> None:
        """Keep what ended sequences leave; it stays in their streams, too, for the time being."""
        for sequence, slot in self._leaving:
            remains = None
            if self._keep(sequence, slot, sequence.num_computed) is None:
                self.evicted += sequence.heirs
            else:
                tokens = sequence.tokens[: sequence.num_computed]
                remains = Remains(sequence.domain, tokens)
            sequence.heirs = []
            self.streams.give_back(slot, remains)
        self._leaving.clear()

    def pause(self, sequence: Sequence) -> None:
        """Take a sequence's place away; it goes on from what is then still kept of it."""
        self.leave(sequence, keep=True)
        self.settle()
        sequence.num_computed = 0

    def discard(self, domain: Hashable) -> None:
        """Forget what is kept for a domain."""
        for kept in [kept for kept in self.prefixes if kept.domain == domain]:
            self._evict(kept)

    def make_room(self, size: int) -> bool:
        """Evict until ``size`` bytes are free; return false if nothing is left to evict."""
        while self.bank.free < size and self.prefixes:
            self._evict(self.prefixes.oldest())
        return self.bank.free >= size

    def compact(self, running: Iterable[Sequence]) -> None:
        """Close the gaps between running sequences."""
        placed = sorted(running, key=lambda sequence: sequence.slot)
        while placed and placed[-1].slot - placed[0].slot >= len(placed):
            last, gap = placed.pop(), self.streams.gap(placed[0].slot)
            self.streams.empty(gap)
            if not self._store.move(last.slot, gap):
                return
            self.streams.exchange(last.slot, gap)
            last.slot = gap
            insort(placed, last, key=lambda sequence: sequence.slot)

    def _kept(self, match: Match) -> Kept | None:
        """Return the match among what is kept; what is being computed is kept first."""
        match match.holder:
            case Kept() as kept:
                return kept
            case Sequence() as running:
                return self._keep(running, running.slot, match.length)
            case _:
                return None

    def _keep(self, sequence: Sequence, slot: int, length: int) -> Kept | None:
        """Keep the first tokens of a sequence, once; return ``None`` if there is no room.

        What is a beginning of another lives on in that.
        """
        tokens = sequence.tokens[:length]
        if not tokens or self.reuse is Reuse.NONE:
            return None
        kept = self.prefixes.that_begins_with(sequence.domain, tokens)
        if kept is None and (end := self._saved(sequence.domain, slot, tokens)):
            kept = Kept(domain=sequence.domain, tokens=tokens, end=end, heirs=[])
            kept.gives_way = sequence.is_background
            self._cover(kept)
        if kept is not None:
            kept.gives_way &= sequence.is_background
            if length == sequence.num_computed:
                kept.heirs += sequence.heirs
                sequence.heirs = []
            self.prefixes.keep(kept)
        return kept

    def _saved(self, domain: Hashable, slot: int, tokens: list[int]) -> Span | None:
        """Save what is not kept yet of a sequence, and return its end in the bank."""
        match = Match()
        if self.reuse is Reuse.PART:
            match = best_match(domain, tokens, len(tokens), self.prefixes)
        rows = self._store.save(slot, match.length, len(tokens))
        if rows is None or rows.nbytes > self.bank.capacity:
            return None
        parent = None
        if isinstance(match.holder, Kept):
            parent = self.bank.fork(match.holder.end, match.length)
        if not self.make_room(rows.nbytes):
            if parent is not None:
                self.bank.release(parent)
            return None
        return self.bank.add(parent, len(tokens) - match.length, rows)

    def _cover(self, kept: Kept) -> None:
        """Let a sequence take the place of those that it begins with, and of the oldest."""
        for other in self.prefixes.covered_by(kept):
            kept.heirs += other.heirs
            kept.gives_way &= other.gives_way
            other.heirs = []
            self._evict(other)
        while len(self.prefixes) >= MAX_KEPT:
            self._evict(self.prefixes.oldest())

    def _evict(self, kept: Kept) -> None:
        self.prefixes.drop(kept)
        self.bank.release(kept.end)
        self.evicted += kept.heirs


def domain_of(tenant: str, attempt: int, *, cache_prompt: bool) -> Hashable:
    """Return with whom an attempt shares: all of its tenant's, or only its own choices."""
    return tenant if cache_prompt else attempt
