"""The live directory of workers, kept from their adverts.

Adverts arrive every second and at every change; between them the router keeps the count of free
slots right by itself, from what it dispatches and from the counts that frames carry.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mesh import subjects
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.errors import BusUnavailable
from mesh.inbox import Delivery
from mesh.seats import Group, Node, Room, Seat
from schemas.fleet import Advert, ModelState, Tier
from schemas.inference import Urgency
from schemas.wire import UNREADABLE, decoder

ADVERT_INTERVAL = 1.0
"""Seconds between adverts of an unchanged worker."""
STALE_AFTER = 3 * ADVERT_INTERVAL
ANSWERED_WITHIN = 0.3
"""Seconds after a roll call in which every worker that is up should have been heard."""
REMEMBER = 300.0
"""Seconds for which a model that no worker serves any more still counts as known."""

TIERS = tuple(Tier)
"""For every request: to iterate over the enum itself takes five times as long."""

_decoder = decoder(Advert)


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """One model over all live workers."""

    name: str
    edge: bool
    cloud: bool
    workers: int
    slots: int
    slots_free: int
    slots_idle: int
    context: int
    state: ModelState


class Fleet:
    """Who is up, with which models, and how much room."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._called_at = -math.inf
        self._nodes: dict[tuple[Tier, str], Node] = {}
        self._groups: dict[tuple[Tier, str], Group] = {}
        self._nobody = Group()
        """Of every model that no worker of a tier serves; it stays empty."""
        self._known: dict[tuple[Tier, str], float] = {}
        self._listeners: list[Callable[[str], None]] = []

    async def watch(self, bus: Bus) -> None:
        """Follow the adverts of both tiers, and ask for one now instead of waiting a second.

        An account without the cloud hears only the edge.
        """
        for tier in Tier:
            await bus.subscribe(subjects.all_capacity(tier), self._on_advert)
        await bus.flush()
        try:
            for tier in Tier:
                bus.post(subjects.roll_call(tier), b"{}")
        except BusUnavailable:
            return  # The adverts come by themselves, a second after the broker.
        self._called_at = self._clock()
        asyncio.get_running_loop().call_later(ANSWERED_WITHIN, self._tell_all)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call ``listener(model)`` whenever room for a model may have appeared or vanished."""
        self._listeners.append(listener)

    @property
    def settled(self) -> bool:
        """Whether every live worker has had the time to be heard."""
        return self._clock() - self._started > 1.5 * ADVERT_INTERVAL

    @property
    def is_counted(self) -> bool:
        """Whether every worker has had the time to answer the roll call, if there was one."""
        return self._clock() - self._called_at >= ANSWERED_WITHIN

    @property
    def is_empty(self) -> bool:
        """Whether no worker at all is up."""
        return not self._nodes

    def update(self, advert: Advert) -> None:
        """Take in an advert; one older than the last of its incarnation is ignored."""
        key = (advert.tier, advert.worker)
        node = self._nodes.get(key)
        now = self._clock()
        if node is None:
            node = self._nodes[key] = Node(advert, now)
        elif (
            node.advert.incarnation == advert.incarnation
            and advert.sequence <= node.advert.sequence
        ):
            return
        if node.advert.incarnation != advert.incarnation:
            for seat in node.seats.values():
                seat.forget_pending()
        node.advert, node.seen_at, node.suspect = advert, now, False
        self._seat(node, now)
        if advert.draining and not advert.models:
            self.drop(node)

    def drop(self, node: Node) -> None:
        """Forget a worker at once: it said goodbye, or nobody listens on its subject."""
        if self._nodes.get(node.key) is node:
            del self._nodes[node.key]
            for name in tuple(node.seats):
                self._unseat(node, name)
                self._tell(name)

    def prune(self) -> None:
        """Forget workers that have not been heard of for three intervals."""
        horizon = self._clock() - STALE_AFTER
        for node in [node for node in self._nodes.values() if node.seen_at < horizon]:
            self.drop(node)

    def excuse_silence(self, seconds: float) -> None:
        """Do not count time in which this process itself stood still."""
        now = self._clock()
        for node in self._nodes.values():
            node.seen_at = min(node.seen_at + seconds, now)

    def room(self, seat: Seat, room: Room) -> None:
        """Take over a worker's own count of its slots from one of its frames, if it told one."""
        seat.count(room)
        if seat.free > 0:
            self._tell(seat.status.name)

    def answered(self, seat: Seat, urgency: Urgency, room: Room) -> None:
        """Take over the count that comes with the first answer to a dispatch."""
        seat.answered(urgency, room)
        if seat.free > 0:
            self._tell(seat.status.name)

    def group(self, model: str, tier: Tier) -> Group:
        """Return the seats for a model on a tier; an empty group if there are none."""
        return self._groups.get((tier, model), self._nobody)

    def seats(self, model: str, tier: Tier) -> Sequence[Seat]:
        """Return every seat for a model on live workers of a tier."""
        return self.group(model, tier).seats

    def tiers_with_room(self, model: str, urgency: Urgency = Urgency.INTERACTIVE) -> set[Tier]:
        """Return the tiers on which a worker has a slot for a model now."""
        groups, nobody = self._groups, self._nobody
        return {tier for tier in TIERS if groups.get((tier, model), nobody).room(urgency)}

    def nodes(self) -> list[Node]:
        """Return the live workers, by tier and name."""
        horizon = self._clock() - STALE_AFTER
        live = (node for node in self._nodes.values() if node.seen_at >= horizon)
        return sorted(live, key=lambda node: (node.key[0] is Tier.CLOUD, node.key[1]))

    def has(self, model: str, tiers: Iterable[Tier] = TIERS) -> bool:
        """Tell whether a live worker of these tiers serves a model."""
        return any((tier, model) in self._groups for tier in tiers)

    def remembers(self, model: str, tiers: Iterable[Tier] = TIERS) -> bool:
        """Tell whether a worker of these tiers has served a model lately."""
        horizon = self._clock() - REMEMBER
        return any(self._known.get((tier, model), horizon) > horizon for tier in tiers)

    def models(self) -> list[ModelSummary]:
        """Return every model served now, by name."""
        names = sorted({name for _, name in self._groups})
        return [
            _summary(name, self.seats(name, Tier.EDGE), self.seats(name, Tier.CLOUD))
            for name in names
        ]

    def _on_advert(self, delivery: Delivery) -> None:
        try:
            advert = _decoder.decode(delivery.payload)
        except UNREADABLE:
            return
        # A worker speaks for itself alone: the broker vouches for the subject, not for the body.
        if delivery.subject == subjects.capacity(advert.tier, advert.worker):
            self.update(advert)

    def _seat(self, node: Node, now: float) -> None:
        gone = node.seats.keys() - {status.name for status in node.advert.models}
        for name in gone:
            self._unseat(node, name)
        for status in node.advert.models:
            seat = node.seats.get(status.name)
            if seat is None:
                group = self._groups.setdefault((node.key[0], status.name), Group())
                seat = node.seats[status.name] = Seat(node, status, group)
            else:
                seat.update(status)
            self._known[node.key[0], status.name] = now
            if seat.free > 0:
                self._tell(status.name)
        for name in gone:
            self._tell(name)

    def _unseat(self, node: Node, name: str) -> None:
        node.seats.pop(name).leave()
        key = (node.key[0], name)
        if not self._groups[key].seats:
            del self._groups[key]

    def _tell_all(self) -> None:
        for model in {name for _, name in self._groups}:
            self._tell(model)

    def _tell(self, model: str) -> None:
        for listener in self._listeners:
            listener(model)


def _summary(name: str, edge: Iterable[Seat], cloud: Iterable[Seat]) -> ModelSummary:
    edge, cloud = list(edge), list(cloud)
    seats = [*edge, *cloud]
    states = {seat.status.state for seat in seats}
    state = next((state for state in ModelState if state in states), ModelState.FAILED)
    return ModelSummary(
        name=name,
        edge=bool(edge),
        cloud=bool(cloud),
        workers=len(seats),
        slots=sum(seat.status.slots for seat in seats),
        slots_free=sum(seat.free for seat in seats),
        slots_idle=sum(seat.idle for seat in seats),
        context=max(seat.status.context for seat in seats),
        state=state,
    )
