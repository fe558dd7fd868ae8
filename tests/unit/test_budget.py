from pathlib import Path
from typing import Any

import pytest

from mesh.errors import BudgetExhausted
from schemas.inference import Usage
from workers.budget import Budget, BudgetRecordInvalid, BudgetSettings

NOON = 1_800_014_400.0
"""2027-01-15 12:00 UTC."""


class WallClock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def budget(folder: Path, clock: WallClock | None = None, **settings: Any) -> Budget:
    settings.setdefault("tokens_per_day", 1000)
    return Budget(BudgetSettings(path=folder / "budget.json", **settings), clock or WallClock())


def tokens(prompt: int, completion: int = 0) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def test_refuses_what_would_exceed_the_cap(tmp_path: Path) -> None:
    """A call whose most does not fit is refused until the day ends."""
    spending = budget(tmp_path)
    spending.reserve(tokens(600, 300))

    with pytest.raises(BudgetExhausted) as refused:
        spending.reserve(tokens(50, 51))

    assert refused.value.retry_after == 12 * 3600
    spending.reserve(tokens(50, 50))


def test_settling_gives_back_what_was_not_taken(tmp_path: Path) -> None:
    """After settling only the true usage counts."""
    spending = budget(tmp_path)
    spending.reserve(tokens(500, 500)).settle(tokens(10, 90))

    spending.reserve(tokens(900))

    assert spending.exhausted


def test_dollars_are_capped_by_price(tmp_path: Path) -> None:
    """Prompt and completion tokens count at their own prices."""
    spending = budget(
        tmp_path,
        tokens_per_day=None,
        usd_per_day=1.0,
        usd_per_million_in=1.0,
        usd_per_million_out=10.0,
    )
    spending.reserve(tokens(500_000, 40_000))

    with pytest.raises(BudgetExhausted):
        spending.reserve(tokens(0, 10_001))
    spending.reserve(tokens(0, 9_999))


def test_a_dollar_cap_needs_prices(tmp_path: Path) -> None:
    """A cap that could never take effect is refused."""
    with pytest.raises(ValueError, match="price"):
        BudgetSettings(path=tmp_path / "b", usd_per_day=1.0)


def test_the_record_survives_a_restart(tmp_path: Path) -> None:
    """A new process goes on where the last one stood, unsettled reservations included."""
    budget(tmp_path).reserve(tokens(900))

    with pytest.raises(BudgetExhausted):
        budget(tmp_path).reserve(tokens(101))


def test_workers_with_one_record_share_the_cap(tmp_path: Path) -> None:
    """What one worker reserves another one cannot."""
    first, second = budget(tmp_path), budget(tmp_path)
    first.reserve(tokens(900))

    with pytest.raises(BudgetExhausted):
        second.reserve(tokens(101))


def test_a_new_day_starts_from_zero(tmp_path: Path) -> None:
    """The cap renews at midnight UTC, and late settlements of yesterday do not touch it."""
    clock = WallClock()
    spending = budget(tmp_path, clock)
    yesterday = spending.reserve(tokens(1000))
    clock.now += spending.renewed_in
    assert not spending.exhausted

    spending.reserve(tokens(1000))
    yesterday.settle(tokens(0))

    assert spending.exhausted


@pytest.mark.parametrize("content", [b"", b"{", b'{"day":"2027-01-15","tokens":-5}', b"\xff"])
def test_a_damaged_record_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """Nothing is spent on a record that cannot be read, and the error names the file."""
    (tmp_path / "budget.json").write_bytes(content)

    with pytest.raises(BudgetRecordInvalid, match=r"budget\.json"):
        budget(tmp_path)


def test_a_record_damaged_later_refuses_calls(tmp_path: Path) -> None:
    """While running, too, an unreadable record means that nothing is spent."""
    spending = budget(tmp_path)
    (tmp_path / "budget.json").write_bytes(b"{")

    with pytest.raises(BudgetExhausted):
        spending.reserve(tokens(1))


def test_a_record_that_cannot_be_corrected_keeps_the_reservation(tmp_path: Path) -> None:
    """A settlement that fails leaves the answer alone and the cap standing."""
    spending = budget(tmp_path)
    reservation = spending.reserve(tokens(900))
    record = tmp_path / "budget.json"
    kept = record.read_bytes()
    record.write_bytes(b"{")

    reservation.settle(tokens(0))
    record.write_bytes(kept)

    with pytest.raises(BudgetExhausted):
        spending.reserve(tokens(101))
