"""Seats: one model on one worker each, grouped by model, with those that have room at hand.

Placement looks at seats for every request. With a thousand workers it must not look at all of them,
so each group keeps the set of its seats with room, and large sets are sampled.
"""

import random
from collections.abc import Sequence

from schemas.fleet import Advert, ModelStatus, Tier

SAMPLE = 24
"""Seats that placement compares at most; the best of that many is seldom far from the best."""


class Node:
    """One worker as last heard of."""

    __slots__ = (
        "_suspect",
        "advert",
        "answered_at",
        "is_gone",
        "misses",
        "seats",
        "seen_at",
        "written",
    )

    def __init__(self, advert: Advert, seen_at: float) -> None:
        self.advert, self.seen_at = advert, seen_at
        self.answered_at = seen_at
        """When it last sent a frame of any attempt: one that answers others is only busy."""
        self.seats: dict[str, Seat] = {}
        self.misses = 0
        """Messages in a row for which the broker found nobody on its subject."""
        self.is_gone = False
        """There were so many that it must have died; its attempts are lost."""
        self.written = 0
        """Tokens of output that it has sent here."""
        self._suspect = False

    @property
    def key(self) -> tuple[Tier, str]:
        """Tier and name: what identifies a worker."""
        return self.advert.tier, self.advert.worker

    @property
    def suspect(self) -> bool:
        """Whether it left a dispatch unanswered; its next advert clears that."""
        return self._suspect

    @suspect.setter
    def suspect(self, suspect: bool) -> None:
        self._suspect = suspect
        for seat in self.seats.values():
            seat.regroup()


class Group:
    """All seats of one model on one tier."""

    __slots__ = ("holders", "open", "seats", "slots")

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.open: dict[Seat, None] = {}
        """Those with room; a dict for its order, which makes samples repeatable."""
        self.slots = 0
        self.holders: dict[str, dict[Seat, None]] = {}
        """The seats that hold a prefix, by its fingerprint."""

    def with_room(self) -> Sequence["Seat"]:
        """Return the seats with room, or a sample of them."""
        return _sample(tuple(self.open))

    def any(self) -> Sequence["Seat"]:
        """Return the seats, or a sample of them."""
        return _sample(self.seats)


class Seat:
    """One model on one worker, and how many attempts it could take now."""

    __slots__ = ("_group", "_pending", "_slots_free", "free", "node", "status", "warm")

    def __init__(self, node: Node, status: ModelStatus, group: Group) -> None:
        self.node, self.status, self._group = node, status, group
        self.warm: frozenset[str] = frozenset()
        self._pending = 0
        self._slots_free = status.slots_free
        self.free = 0
        """Slots that a new attempt could take."""
        group.seats.append(self)
        group.slots += status.slots
        self._hold(frozenset(status.warm))
        self.regroup()

    @property
    def slots_free(self) -> int:
        """Free slots by the worker's own last count."""
        return self._slots_free

    @slots_free.setter
    def slots_free(self, count: int) -> None:
        self._slots_free = count
        self.regroup()

    @property
    def pending(self) -> int:
        """Attempts dispatched and not yet answered."""
        return self._pending

    @pending.setter
    def pending(self, count: int) -> None:
        self._pending = max(0, count)
        self.regroup()

    def update(self, status: ModelStatus) -> None:
        """Take over what an advert says.

        Not the free slots while dispatches are unanswered: adverts and frames come in on different
        subscriptions, so this advert may already count what is still pending here. The answers
        carry the count.
        """
        self._group.slots += status.slots - self.status.slots
        if status.warm != self.status.warm:
            self._hold(frozenset(status.warm))
        self.status = status
        if self._pending == 0:
            self._slots_free = status.slots_free
        self.regroup()

    def leave(self) -> None:
        """Take the seat out of its group."""
        self._group.seats.remove(self)
        self._group.open.pop(self, None)
        self._group.slots -= self.status.slots
        self._hold(frozenset())
        # Attempts that are still under way keep counting, but for nobody who looks for room.
        self._group = Group()

    def _hold(self, fingerprints: frozenset[str]) -> None:
        """Take note of which prefixes the worker holds now."""
        holders = self._group.holders
        for fingerprint in self.warm - fingerprints:
            del holders[fingerprint][self]
            if not holders[fingerprint]:
                del holders[fingerprint]
        for fingerprint in fingerprints - self.warm:
            holders.setdefault(fingerprint, {})[self] = None
        self.warm = fingerprints

    def regroup(self) -> None:
        """Count anew, and sort the seat among those with room, or not."""
        free = self._slots_free - self._pending
        if free > 0 and not (self.node.suspect or self.node.advert.draining):
            self.free = free
            self._group.open[self] = None
        else:
            self.free = 0
            self._group.open.pop(self, None)


def _sample(seats: Sequence[Seat]) -> Sequence[Seat]:
    return seats if len(seats) <= SAMPLE else random.sample(seats, SAMPLE)
