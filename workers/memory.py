"""The memory that the models of one worker share: who may load, who waits, who must go.

Everything here happens on the event loop between two awaits, so a model that is found idle is still
idle when it is told to leave.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto

import anyio

from mesh.clock import Clock, monotonic
from workers.residency import Plan, Resident, held_for, make_room


class Withdrawn(Exception):
    """Nobody wants the model any more; it had not begun to load."""


class Stay(Enum):
    """Where a model is with respect to memory."""

    OUT = auto()
    WAITING = auto()
    """In line for room."""
    IN = auto()
    LEAVING = auto()
    """Told to go; its memory counts as taken until it has gone."""


class Claim:
    """One model's claim on the memory; made by ``Memory.claim``.

    on_change: called when the model's place changes without its own doing; on_evict: called once
    when it must leave now.
    """

    def __init__(self, memory: "Memory", name: str) -> None:
        self.name = name
        self.nbytes = 0
        self.stay = Stay.OUT
        self.is_recalled = False
        """The model makes room for another: it takes nothing new and goes when it is idle."""
        self.on_change: Callable[[], None] = _ignore
        self.on_evict: Callable[[], None] = _ignore
        self._memory = memory
        self._users = 0
        self._insists = self._dismissed = False
        self._wished, self._answered = anyio.Event(), anyio.Event()
        self._held_until = math.inf
        self._used_at = memory.now()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody uses the model, waits for it, or wants it loaded."""
        return self._users > 0 or self._insists

    @property
    def in_use(self) -> bool:
        """Whether somebody uses the model or waits for it."""
        return self._users > 0

    def insist(self) -> None:
        """Want the model loaded, although nobody uses it yet."""
        self._insists, self._dismissed = True, False
        self._wished.set()

    def dismiss(self) -> None:
        """Want the model gone as soon as nobody uses it, however short its stay was."""
        self._insists, self._dismissed = False, self.stay is not Stay.OUT
        self._memory.review()

    async def wanted(self) -> None:
        """Wait until somebody wants the model."""
        while not self.is_wanted:
            self._wished = anyio.Event()
            await self._wished.wait()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use the model, or wait for it: it does not leave meanwhile."""
        self._users += 1
        self._wished.set()
        try:
            yield
        finally:
            self._users -= 1
            self._used_at = self._memory.now()
            self._memory.review()

    @asynccontextmanager
    async def hold(self, nbytes: int) -> AsyncIterator[None]:
        """Wait for room and keep it; raises ``Withdrawn`` if nobody wants the model before that."""
        self.nbytes = nbytes
        self._answered = anyio.Event()
        self._memory.enter(self)
        try:
            await self._answered.wait()
            if self.stay is not Stay.IN:
                raise Withdrawn
            yield
        finally:
            self._memory.leave(self)

    def settle(self, load_seconds: float) -> None:
        """Begin the stay: the model is loaded."""
        self._used_at = self._memory.now()
        self._held_until = self._used_at + held_for(load_seconds, self._memory.min_residency)
        self._memory.review()

    def resident(self) -> Resident:
        """Return what the choice of who must go looks at."""
        return Resident(
            name=self.name,
            nbytes=self.nbytes,
            held_until=self._held_until,
            used_at=self._used_at,
            in_use=self.in_use,
        )

    def place(self, stay: Stay) -> None:
        """Note where the model is now; whoever awaits the answer gets it."""
        self.stay = stay
        self._held_until = math.inf
        self.is_recalled = False
        if stay is Stay.IN:
            self._insists = False
        if stay is Stay.OUT:
            self._dismissed = False
        self._answered.set()

    def follow(self, plan: Plan) -> None:
        """Do what a plan says about this model."""
        is_going = self.name in plan.leaving
        was_recalled, self.is_recalled = self.is_recalled, is_going or self._dismissed
        is_loaded = self._held_until < math.inf
        if is_loaded and not self.in_use and (self._dismissed or (is_going and plan.at_once)):
            self.place(Stay.LEAVING)
            self.on_evict()
        elif self.is_recalled != was_recalled:
            self.on_change()


class Memory:
    """A budget of bytes for the models of one worker.

    budget: ``None`` for no limit. min_residency: seconds that a model stays loaded at most before
    it may be asked to go (see ``residency.held_for``). Those who wait are served in their order,
    so that a large model is not starved by small ones.
    """

    def __init__(
        self,
        budget: int | None = None,
        *,
        min_residency: float = 30.0,
        clock: Clock = monotonic,
    ) -> None:
        self.budget, self.min_residency, self.now = budget, min_residency, clock
        self._line: list[Claim] = []
        self._residents: list[Claim] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def free(self) -> float:
        """Bytes that nobody holds, infinite without a budget."""
        taken = sum(claim.nbytes for claim in self._residents)
        return math.inf if self.budget is None else self.budget - taken

    def claim(self, name: str) -> Claim:
        """Return the claim of a model that is not loaded yet."""
        return Claim(self, name)

    def enter(self, claim: Claim) -> None:
        """Put a model in line for room."""
        claim.stay = Stay.WAITING
        self._line.append(claim)
        self.review()

    def leave(self, claim: Claim) -> None:
        """Take back what a model held, or its place in the line."""
        for claims in (self._line, self._residents):
            if claim in claims:
                claims.remove(claim)
        claim.place(Stay.OUT)
        self.review()

    def review(self) -> None:
        """Give room to those in line, and see who must go for the next."""
        for claim in [claim for claim in self._line if not claim.is_wanted]:
            self._line.remove(claim)
            claim.place(Stay.OUT)
        while self._line and self._line[0].nbytes <= self.free:
            self._admit(self._line.pop(0))
        plan = self._plan()
        for claim in tuple(self._residents):
            if claim.stay is Stay.IN:
                claim.follow(plan)
        self._look_again(plan.look_again)

    def _admit(self, claim: Claim) -> None:
        self._residents.append(claim)
        claim.place(Stay.IN)

    def _plan(self) -> Plan:
        if not self._line:
            return Plan()
        going = sum(claim.nbytes for claim in self._residents if claim.stay is Stay.LEAVING)
        staying = [claim.resident() for claim in self._residents if claim.stay is Stay.IN]
        missing = self._line[0].nbytes - going - self.free
        return make_room(int(missing), staying, self.now())

    def _look_again(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, when - self.now()), self.review)


def _ignore() -> None:
    """Nobody listens to this claim yet."""
