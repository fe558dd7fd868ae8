"""Frames of ``mesh top``, as text."""

from rich.console import Console

from cli.screen import Screen, adverts_only, combined
from schemas.dashboard import FailureView, FlowView, ModelTotal, ModelView, Snapshot, WorkerView
from schemas.fleet import ModelState, Tier
from tests.support.fleets import advert, fleet_of, model

EMPTY = Snapshot(at=0, version="1", uptime=5)
SILENT = Snapshot(at=0, version="", uptime=0)


def text(screen: Screen, now: Snapshot | None, *, lost: str = "", width: int = 100) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(screen.frame(now, lost))
    return capture.get()


def worker(name: str = "w1", tier: Tier = Tier.EDGE, rate: float = 0.0) -> WorkerView:
    models = (ModelView(name="m", state=ModelState.READY, slots=4, free=1),)
    return WorkerView(name=name, tier=tier, tokens_per_second=rate, models=models)


def total(*, slots: int, free: int, waiting: int) -> ModelTotal:
    return ModelTotal(
        name="m", edge=True, cloud=True, workers=2, slots=slots, free=free, waiting=waiting
    )


def test_a_frame_shows_workers_queue_flow_and_failures() -> None:
    """Everything that an operator looks for is on one screen."""
    now = Snapshot(
        at=0,
        version="1",
        uptime=3700,
        workers=(worker(rate=42.0), worker("sky", Tier.CLOUD)),
        models=(
            ModelTotal(name="m", edge=True, cloud=True, workers=2, slots=8, free=2, waiting=5),
        ),
        in_flight=11,
        edge=FlowView(requests=30, tokens_per_second=42.0, usd=1.5),
        cloud=FlowView(requests=10, usd=0.25),
        refused=2,
        fallbacks={"wait": 7},
        priced=True,
        failures=(FailureView(at=0, code="queue_full", model="m"),),
    )
    shown = text(Screen("http://here:1"), now)
    for expected in (
        "http://here:1  up 1 h 1 min",
        "42 tokens/s",
        "6 of 8",
        "11 open",
        "in line: m 5",
        "$1.5000 saved",
        "███░ 3/4",
        "sky",
        "wait",
        "queue_full",
    ):
        assert expected in shown


def test_without_a_gateway_the_adverts_are_enough() -> None:
    """Rates are then what the workers measured, and what only a gateway knows is left out."""
    fleet = fleet_of(advert("w1", model(slots=4, free=1, decode=10.0)))
    now = adverts_only(fleet)
    assert now.workers[0].tokens_per_second == 30
    shown = text(Screen(), now)
    assert "no gateway known" in shown
    assert "3 of 4" in shown
    assert "where requests went" not in shown


def test_a_gateway_s_rates_replace_the_workers_own() -> None:
    """What it measured counts; workers that it has not seen yet keep their estimate."""
    heard = Snapshot(at=0, version="", uptime=0, workers=(worker(rate=9), worker("new", rate=5)))
    told = Snapshot(at=0, version="1", uptime=1, workers=(worker(rate=7), worker("gone")))
    found = {each.name: each.tokens_per_second for each in combined(heard, told).workers}
    assert found == {"w1": 7, "new": 5}


def test_nobody_there_is_said_so() -> None:
    """An empty mesh tells what to do about it."""
    assert "mesh worker" in text(Screen("http://here:1"), EMPTY)


def test_a_lost_gateway_is_told_with_the_reason() -> None:
    """What is missing on the screen is explained."""
    shown = text(Screen("http://here:1"), SILENT, lost="asks for a key")
    assert "http://here:1 asks for a key" in shown


def test_where_nothing_is_known_nothing_is_claimed() -> None:
    """An unreachable gateway alone does not mean that there are no workers."""
    shown = text(Screen("http://here:1"), None, lost="not reachable")
    assert shown.strip() == "inference-mesh  http://here:1 not reachable"


def test_a_narrow_terminal_is_no_error() -> None:
    """Forty columns show less, and every line fits."""
    shown = text(
        Screen(), Snapshot(at=0, version="", uptime=0, workers=(worker("w" * 60),)), width=40
    )
    assert max(map(len, shown.splitlines())) <= 40
