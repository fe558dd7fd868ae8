"""What five times too much does: answers per second, how quick refusals are, and the time after.

Once with slots as what is short (requests with a deadline, in an open loop), once with the
gateway's processor as what is short (a closed loop; the refused come back when they were told to).
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from statistics import median

import msgspec

from bench import targets
from bench.crowd import Crowd, CrowdResult
from bench.failures import BenchError
from bench.figures import Figure, Goal, Row
from bench.targets import SLOTS, TOKENS, Workshop

TIMES = 5
"""The load of the crowd, beside the one at which the rate is highest."""
FEW_SLOTS = 8
ANSWER = 16
"""Tokens."""
TPS = 160
"""Tokens per second of a slot where slots are short: an answer takes a tenth of a second."""
DEADLINE_MS = 2000
BUSY = 32
"""Clients that keep the gateway's processor busy."""
MOST = 1500
"""Open requests of the open loop at most; far more than the waiting line holds."""
WARMUP = 2.0
"""Seconds of the crowd that do not count: connections are made, and too many come in."""
GOODPUT, REFUSAL_MS, RECOVERY = 90.0, 50.0, 10.0

PEAK, CROWD = "peak", "crowd"

CrowdOf = Callable[[Crowd, float, float], Crowd]
"""Makes the crowd of the peak's load, its answers per second and an answer's time without load."""
Found = Mapping[str, list[CrowdResult]]


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure the peak and five times as much, in turns."""
    short = {"slots": FEW_SLOTS, "scripted_tps": TPS, "scripted_tokens": TOKENS}
    with targets.mesh(shop, "overload-slots", short) as mesh:
        peak = Crowd(url=mesh.url, clients=2 * FEW_SLOTS, tokens=ANSWER, seconds=seconds)
        slots = _rounds(shop, "slots are short", peak, rounds, in_open_loop)
    fast = {"slots": SLOTS, "scripted_tps": 0, "scripted_tokens": TOKENS}
    with targets.mesh(shop, "overload-gateway", fast) as mesh:
        peak = Crowd(url=mesh.url, clients=BUSY, tokens=ANSWER, seconds=seconds)
        gateway = _rounds(shop, "the gateway's processor is short", peak, rounds, in_closed_loop)
    figures = (
        *_figures(f"{TIMES}x, slots short", slots),
        *_figures(f"{TIMES}x, gateway short", gateway),
    )
    return Row(figures=figures, details={"slots": slots, "gateway": gateway})


def in_open_loop(peak: Crowd, rate: float, calm: float) -> Crowd:
    """Return five times the arrivals that could be answered, each with a deadline."""
    return msgspec.structs.replace(
        peak, clients=MOST, arrivals=TIMES * rate, calm=calm, deadline_ms=DEADLINE_MS
    )


def in_closed_loop(peak: Crowd, _rate: float, calm: float) -> Crowd:
    """Return five times the clients."""
    return msgspec.structs.replace(peak, clients=TIMES * peak.clients, calm=calm)


def _rounds(
    shop: Workshop, what: str, peak: Crowd, rounds: int, crowd_of: CrowdOf
) -> dict[str, list[CrowdResult]]:
    """Put on the peak's load, then the crowd's, round by round."""
    shop.say(f"{what}: alone")
    calm = _put_on(msgspec.structs.replace(peak, clients=1, seconds=1.0)).latency.p50 / 1000
    peaks: list[CrowdResult] = []
    crowds: list[CrowdResult] = []
    for number in range(rounds):
        shop.say(f"{what}: round {number + 1}")
        peaks.append(_put_on(peak))
        crowd = crowd_of(peak, peaks[-1].rate, calm)
        crowds.append(_put_on(msgspec.structs.replace(crowd, warmup=WARMUP)))
    return {PEAK: peaks, CROWD: crowds}


def _put_on(crowd: Crowd) -> CrowdResult:
    command = [sys.executable, "-m", "bench.crowd", msgspec.json.encode(crowd).decode()]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.decode(errors="replace").strip()[-1000:])
    return msgspec.json.decode(done.stdout, type=CrowdResult)


def _figures(name: str, found: Found) -> Iterator[Figure]:
    peaks, crowds = found[PEAK], found[CROWD]
    rate = median(result.rate for result in peaks)
    late, refusals = sum(each.late for each in crowds), sum(each.refusals for each in crowds)
    waits = [each.refused.p99 for each in crowds if each.refused]
    yield Figure(
        name=f"{name}: answers, of the peak's",
        unit="%",
        value=median(
            100 * crowd.rate / peak.rate for crowd, peak in zip(crowds, peaks, strict=True)
        ),
        goal=Goal(text=f"≥ {GOODPUT:g} %", at_least=GOODPUT),
        note=f"the peak is {rate:.0f}/s; {refusals} refused, {late} let in and late; answers p99 "
        f"{median(each.latency.p99 for each in crowds):.0f} ms, at the peak "
        f"{median(each.latency.p99 for each in peaks):.0f} ms",
    )
    yield Figure(
        name=f"{name}: refusals p99",
        unit="ms",
        value=median(waits) if waits else 0.0,
        goal=Goal(text=f"≤ {REFUSAL_MS:g} ms", at_most=REFUSAL_MS),
        note=f"{sum(each.untold for each in crowds)} without a time to come back",
    )
    yield Figure(
        name=f"{name}: served as without load again",
        unit="s",
        value=max(each.recovery for each in crowds),
        goal=Goal(text=f"≤ {RECOVERY:g} s", at_most=RECOVERY),
    )
