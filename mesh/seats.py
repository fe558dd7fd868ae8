"""Seats: one model on one worker each, grouped by model, with those that have room at hand.

Placement looks at seats for every request. With a thousand workers it must not look at all of them,
so each group keeps the set of its seats with room, and large sets are sampled.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from schemas.fleet import UNKNOWN, Advert, ModelStatus
from schemas.inference import Urgency

SAMPLE = 24
"""Seats that placement compares at most; the best of that many is seldom far from the best."""


class Room(NamedTuple):
    """A worker's own count of its slots, as in ``ModelStatus``; ``UNKNOWN`` where it told none."""

    free: int = UNKNOWN
    idle: int = UNKNOWN


UNCOUNTED = Room()


class Node:
    """One worker as last heard of."""

    __slots__ = (
        "_suspect",
        "advert",
        "answered_at",
        "is_gone",
        "key",
        "misses",
        "seats",
        "seen_at",
        "written",
    )

    def __init__(self, advert: Advert, seen_at: float) -> None:
        self.advert, self.seen_at = advert, seen_at
        self.key = (advert.tier, advert.worker)
        """Tier and name: what identifies a worker."""
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
    def is_shunned(self) -> bool:
        """Whether it gets no work now."""
        return self._suspect or self.advert.draining

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

    __slots__ = ("holders", "idle", "open", "seats", "slots")

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.open: dict[Seat, None] = {}
        """Those with room; a dict for its order, which makes samples repeatable."""
        self.idle: dict[Seat, None] = {}
        """Of these, the ones with room for background requests."""
        self.slots = 0
        self.holders: dict[str, dict[Seat, None]] = {}
        """The seats that hold a prefix, by its fingerprint."""

    def room(self, urgency: Urgency) -> dict["Seat", None]:
        """Return the seats with room for such requests."""
        return self.open if urgency is Urgency.INTERACTIVE else self.idle

    def with_room(self, urgency: Urgency = Urgency.INTERACTIVE) -> Sequence["Seat"]:
        """Return the seats with room, or a sample of them."""
        return _sample(tuple(self.room(urgency)))

    def any(self) -> Sequence["Seat"]:
        """Return the seats, or a sample of them."""
        return _sample(self.seats)


class Seat:
    """One model on one worker, and how many attempts it could take now."""

    __slots__ = ("_group", "_pending", "_room", "free", "idle", "node", "status", "warm")

    def __init__(self, node: Node, status: ModelStatus, group: Group) -> None:
        self.node, self.status, self._group = node, status, group
        self.warm: frozenset[str] = frozenset()
        self._pending = dict.fromkeys(Urgency, 0)
        self._room = _room_of(status)
        self.free = 0
        """Slots that a new interactive attempt could take."""
        self.idle = 0
        """Slots that a new background attempt could take."""
        group.seats.append(self)
        group.slots += status.slots
        self._hold(frozenset(status.warm))
        self.regroup()

    @property
    def slots_free(self) -> int:
        """Free slots by the worker's own last count."""
        return self._room.free

    @property
    def pending(self) -> int:
        """Attempts dispatched and not yet answered."""
        return sum(self._pending.values())

    def expect(self, urgency: Urgency) -> None:
        """Count an attempt that is dispatched, or is about to be."""
        self._pending[urgency] += 1
        self.regroup()

    def settle(self, urgency: Urgency) -> None:
        """Take back an attempt that was answered or not dispatched at all."""
        self._forget_one(urgency)
        self.regroup()

    def answered(self, urgency: Urgency, room: Room) -> None:
        """Take over the worker's own count, which has an attempt that was pending here."""
        self._forget_one(urgency)
        self.count(room)

    def forget_pending(self) -> None:
        """Expect no answers any more: the worker that owed them is gone."""
        self._pending = dict.fromkeys(Urgency, 0)
        self.regroup()

    def count(self, room: Room) -> None:
        """Take over the worker's own count, as far as it told one."""
        if room.free >= 0:
            self._room = Room(room.free, room.idle if room.idle >= 0 else room.free)
        elif room.idle >= 0:
            self._room = Room(self._room.free, room.idle)
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
        if not self.pending:
            self._room = _room_of(status)
        self.regroup()

    def leave(self) -> None:
        """Take the seat out of its group."""
        self._group.seats.remove(self)
        self._group.open.pop(self, None)
        self._group.idle.pop(self, None)
        self._group.slots -= self.status.slots
        self._hold(frozenset())
        # Attempts that are still under way keep counting, but for nobody who looks for room.
        self._group = Group()

    def _forget_one(self, urgency: Urgency) -> None:
        if self._pending[urgency]:
            self._pending[urgency] -= 1

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
        had_room, was_idle = self.free > 0, self.idle > 0
        room, pending = self._room, self._pending[Urgency.INTERACTIVE]
        if self.node.is_shunned:
            self.free = self.idle = 0
        else:
            free = room.free - pending
            idle = room.idle - pending - self._pending[Urgency.BACKGROUND]
            self.free = max(0, free)
            self.idle = (min(self.free, idle)) if idle > 0 else 0
        if had_room != (self.free > 0):
            _sort(self, self._group.open, self.free)
        if was_idle != (self.idle > 0):
            _sort(self, self._group.idle, self.idle)


def _room_of(status: ModelStatus) -> Room:
    idle = status.slots_idle
    return Room(status.slots_free, status.slots_free if idle == UNKNOWN else idle)


def _sort(seat: Seat, seats: dict[Seat, None], room: int) -> None:
    if room:
        seats[seat] = None
    else:
        seats.pop(seat, None)


def _sample(seats: Sequence[Seat]) -> Sequence[Seat]:
    return seats if len(seats) <= SAMPLE else random.sample(seats, SAMPLE)
