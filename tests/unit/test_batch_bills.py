"""What jobs cost of what was set aside for them."""

import pytest

from gateway.batches.bills import Due, Funded, cost, due_of
from schemas.fleet import Tariff, Tier
from schemas.inference import Completion, Usage
from schemas.jobs import JobRecord, JobState
from tests.support.requests import chat

TARIFF = Tariff(usd_per_million_in=1.0, usd_per_million_out=2.0)
DUE = Due(account="key_1.2027-01-01", nano_usd=1_000_000, tariff=TARIFF, mark="m")
PRICE = 10 * 1000 + 20 * 2000


def job(tier: Tier | None, begun: int, note: str = "") -> JobRecord:
    """Return a job that was answered by a tier, or by none, after attempts in the cloud."""
    return JobRecord(
        id="job_1",
        tenant="t",
        state=JobState.FAILED if tier is None else JobState.SUCCEEDED,
        cloud_attempts=begun,
        note=note,
        result=None if tier is None else answer_of(tier),
    )


def answer_of(tier: Tier) -> Completion:
    return Completion(
        id="job_1",
        model="m",
        text="",
        finish_reason="stop",
        usage=Usage(prompt_tokens=10, completion_tokens=20),
        tier=tier,
        worker="w",
    )


@pytest.mark.parametrize(
    ("tier", "begun", "nano_usd"),
    [
        (Tier.CLOUD, 1, PRICE),
        (Tier.CLOUD, 2, DUE.nano_usd + PRICE),
        (Tier.EDGE, 0, 0),
        (Tier.EDGE, 1, DUE.nano_usd),
        (None, 0, 0),
        (None, 1, DUE.nano_usd),
    ],
)
def test_a_job_costs_what_it_took_or_might_have(
    tier: Tier | None, begun: int, nano_usd: int
) -> None:
    """An attempt in the cloud that gave no answer counts as set aside, an answer as it was."""
    assert cost(job(tier, begun), DUE, TARIFF) == cost(job(tier, begun), DUE, None) == nano_usd


def test_a_cloud_that_got_dearer_is_paid() -> None:
    """Of the prices then and now the higher ones count."""
    dearer = Tariff(usd_per_million_in=0.5, usd_per_million_out=4.0)
    assert cost(job(Tier.CLOUD, 1), DUE, dearer) == 10 * 1000 + 20 * 4000


def test_what_was_set_aside_is_found_with_the_job() -> None:
    """It travels in the note; a note of somebody else says nothing."""
    assert due_of(job(None, 0, note=Funded(chat(), DUE).note)) == DUE
    assert due_of(job(None, 0, note=Funded(chat()).note)) is None
    assert due_of(job(None, 0, note="remember the milk")) is None
    assert due_of(job(None, 0, note="[" * 1000)) is None
