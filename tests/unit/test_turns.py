"""Turns: who computes while there are fewer places than attempts."""

from contextlib import ExitStack

from schemas.inference import Urgency
from workers.turns import Turns

INTERACTIVE, BACKGROUND = Urgency


async def test_background_has_its_turn_while_places_are_left() -> None:
    """The first come keep theirs; who is too much waits, and follows when one leaves."""
    turns = Turns(2)
    with turns.join(BACKGROUND) as second:
        with turns.join(BACKGROUND) as first, turns.join(BACKGROUND) as third:
            assert [turn.is_set() for turn in (second, first, third)] == [True, True, False]
        with turns.join(BACKGROUND) as fourth:
            assert fourth.is_set()


async def test_interactive_attempts_take_turns_away() -> None:
    """The latest background attempt gives way first, and goes on when the other has left."""
    turns = Turns(2)
    with turns.join(BACKGROUND) as early, turns.join(BACKGROUND) as late:
        with turns.join(INTERACTIVE) as one:
            assert (one.is_set(), early.is_set(), late.is_set()) == (True, True, False)
            with turns.join(INTERACTIVE) as two:
                assert (two.is_set(), early.is_set()) == (True, False)
            assert (early.is_set(), late.is_set()) == (True, False)
        assert late.is_set()


async def test_interactive_attempts_never_wait() -> None:
    """However many there are: who lets them in has counted them."""
    turns = Turns(1)
    with ExitStack() as stack:
        assert all(stack.enter_context(turns.join(INTERACTIVE)).is_set() for _ in range(3))
