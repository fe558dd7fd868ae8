"""Whose turn it is where attempts share places: interactive ones', then background ones' in order.

An attempt that had its turn loses it when an interactive one comes and no place is left, and gets
it back when one goes.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.inference import Urgency


class Turns:
    """Gives out turns for ``places`` attempts at a time; interactive ones never wait."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._interactive = 0
        self._background: list[asyncio.Event] = []

    @contextmanager
    def join(self, urgency: Urgency) -> Iterator[asyncio.Event]:
        """Take part; the event is set while it is this attempt's turn."""
        turn = asyncio.Event()
        self._enter(turn, urgency)
        try:
            yield turn
        finally:
            self._leave(turn, urgency)

    def _enter(self, turn: asyncio.Event, urgency: Urgency) -> None:
        if urgency is Urgency.INTERACTIVE:
            self._interactive += 1
            turn.set()
        else:
            self._background.append(turn)
        self._review()

    def _leave(self, turn: asyncio.Event, urgency: Urgency) -> None:
        if urgency is Urgency.INTERACTIVE:
            self._interactive -= 1
        else:
            self._background.remove(turn)
        self._review()

    def _review(self) -> None:
        for ahead, turn in enumerate(self._background, start=self._interactive):
            if ahead < self._places:
                turn.set()
            else:
                turn.clear()
