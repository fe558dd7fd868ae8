"""What requests cost, and what fits into a budget."""

from gateway.pricing import NANO, dearest, most, price
from gateway.spending import admit
from schemas.fleet import Tariff
from schemas.inference import Task, Usage
from tests.support.requests import chat

CHEAP = Tariff(usd_per_million_in=1, usd_per_million_out=4, max_output=100)
DEAR = Tariff(usd_per_million_in=3, usd_per_million_out=2, max_output=200)


def test_a_price_is_exact() -> None:
    """A million tokens of each kind cost what the tariff says, and fractions are rounded up."""
    assert price(CHEAP, Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000)) == 5 * NANO
    assert price(Tariff(usd_per_million_in=0.0001), Usage(prompt_tokens=1)) == 1


def test_the_dearest_of_each_counts() -> None:
    """Whichever worker answers, it is not dearer than what was reserved."""
    assert dearest([CHEAP, DEAR]) == Tariff(
        usd_per_million_in=3, usd_per_million_out=4, max_output=200
    )


def test_an_unknown_price_makes_all_unknown() -> None:
    """No budget can be kept with a worker that does not say what its tokens cost."""
    assert dearest([CHEAP, None]) is None
    assert dearest([]) is None


def test_a_request_takes_its_limits_at_most() -> None:
    """Every byte may be a token, every choice may be as long as allowed."""
    assert most(chat(max_tokens=7, n=3), 50, CHEAP) == Usage(prompt_tokens=50, completion_tokens=21)
    assert most(chat(), 50, CHEAP).completion_tokens == 100
    assert most(chat(max_tokens=-1), 50, CHEAP).completion_tokens == 0
    assert most(chat(task=Task.EMBED), 50, CHEAP) == Usage(prompt_tokens=50)


def test_what_fits_is_admitted_in_order() -> None:
    """A change beyond its limit is left out, a smaller one after it may still fit."""
    assert admit(5, [(4, 10), (4, 10), (1, 10)]) == ([True, False, True], 10)


def test_corrections_are_made_first() -> None:
    """What comes back makes room for what is asked for at the same moment."""
    assert admit(10, [(5, 10), (-5, None)]) == ([True, True], 10)
    assert admit(10, [(5, None)]) == ([True], 15)


def test_a_balance_is_never_negative() -> None:
    """Whatever is given back, nobody earns by it."""
    assert admit(3, [(-5, None)]) == ([True], 0)
