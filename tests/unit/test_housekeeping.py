"""Garbage is looked for less often, and still found."""

import gc
import weakref

from mesh.housekeeping import THRESHOLDS, look_less_often


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


def test_cycles_are_still_freed() -> None:
    """What is made after the call is collected, after some thousand objects."""
    before = gc.get_threshold()
    try:
        look_less_often()
        knot = weakref.ref(Knot())
        kept = [[number] for number in range(2 * THRESHOLDS[0])]
        assert knot() is None
        assert kept
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
