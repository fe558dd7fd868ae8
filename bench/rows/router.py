"""What routing costs with a thousand workers: a decision, and following their adverts."""

import random
import subprocess
import sys
from time import perf_counter

import msgspec

from bench import targets
from bench.adverts import WORKERS, Followed, advert
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.load import Percentiles, percentiles
from bench.targets import Workshop
from mesh.demand import Demand
from mesh.fleet import Fleet
from mesh.placement import place
from schemas.inference import Policy

DECISION_MS = 0.2
ADVERTS_SHARE = 20.0
DECISIONS = 2000


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure decisions and adverts; ``rounds`` plays no part."""
    shop.say("decisions")
    free, busy = decisions(slots_free=2), decisions(slots_free=0)
    shop.say(f"{WORKERS} adverts a second")
    with targets.bare_broker(shop, "adverts-broker") as (nats, _):
        heard = _follow(nats, seconds)
    goal = Goal(text=f"≤ {DECISION_MS:g} ms", at_most=DECISION_MS)
    title = f"routing decision p50, {WORKERS} workers"
    figures = (
        Figure(name=f"{title} with room", unit="ms", value=free.p50, goal=goal, note=_tail(free)),
        Figure(name=f"{title}, all busy", unit="ms", value=busy.p50, goal=goal, note=_tail(busy)),
        Figure(
            name=f"share of a core for {WORKERS} adverts/s",
            unit="%",
            value=100 * heard.used / heard.seconds,
            goal=Goal(text=f"≤ {ADVERTS_SHARE:g} %", at_most=ADVERTS_SHARE),
            note=f"{heard.adverts / heard.seconds:.0f} adverts/s came in",
        ),
    )
    return Row(figures=figures, details={"free": free, "busy": busy, "adverts": heard})


def _tail(times: Percentiles) -> str:
    return f"p99 {times.p99:.3f} ms"


def decisions(slots_free: int) -> Percentiles:
    """Return how long placement takes, in a fleet where every worker has so much room."""
    fleet = Fleet()
    for number in range(WORKERS):
        fleet.update(advert(number, sequence=1, slots_free=slots_free))
    times = []
    for _ in range(DECISIONS):
        demand = _demand()
        started = perf_counter()
        place(demand, fleet, started)
        times.append(perf_counter() - started)
    return percentiles(times)


def _demand() -> Demand:
    return Demand(
        model="spark",
        policy=Policy.EDGE_FIRST,
        prompt_tokens=random.randrange(16, 2048),  # noqa: S311 - any will do
        output_tokens=256,
        deadline=perf_counter() + 600,
    )


def _follow(nats: str, seconds: float) -> Followed:
    """Let one process follow what another one advertises."""
    command = [sys.executable, "-m", "bench.adverts", nats]
    with subprocess.Popen([*command, "--send"]) as sender:
        try:
            done = subprocess.run(
                [*command, "--seconds", str(seconds)], capture_output=True, check=False
            )
        finally:
            sender.terminate()
    if done.returncode != 0:
        raise BenchError(done.stderr.decode(errors="replace")[-1000:])
    return msgspec.json.decode(done.stdout, type=Followed)
