"""What the gateway and the bus cost: latency of one client, throughput of many."""

from collections.abc import Mapping
from contextlib import ExitStack

from bench import peers, targets
from bench.figures import Figure, Goal, Row
from bench.load import Load
from bench.measure import Measured, compare
from bench.targets import DIRECT, MESH, MESH_PER_TOKEN, PROTOTYPE, SLOTS, TOKENS, Target, Workshop

SHORT = 16
"""Tokens of an answer that does not stream."""
LONG = 64
"""Tokens of a stream."""
MANY = 32
ADDED_MS = 1.0
OTHERS = (PROTOTYPE, peers.SGLANG_ROUTER, peers.LITELLM)

Results = Mapping[str, Measured]


def measure(shop: Workshop, seconds: float, rounds: int) -> Row:
    """Measure latency and throughput of the mesh beside its peers."""
    one = Load(url="", clients=1, tokens=SHORT, seconds=seconds)
    many = Load(url="", clients=MANY, tokens=SHORT, seconds=seconds)
    streams = Load(url="", clients=MANY, tokens=LONG, seconds=seconds, stream=True)
    with ExitStack() as stack:
        everyone, per_token = _start(shop, stack)
        shop.say("one client")
        single = compare(one, everyone, rounds)
        shop.say(f"{MANY} clients")
        whole = compare(many, everyone, rounds)
        shop.say(f"{MANY} streams")
        streamed = compare(streams, [*everyone, per_token], rounds)
    figures = (latency(single), *throughput(whole), *streaming(streamed))
    return Row(figures=figures, details={"one": single, "many": whole, "streams": streamed})


def _start(shop: Workshop, stack: ExitStack) -> tuple[list[Target], Target]:
    backend = stack.enter_context(targets.backend(shop))
    fast = {"slots": SLOTS, "scripted_tps": 0, "scripted_tokens": TOKENS}
    others = (
        targets.prototype(shop),
        targets.sglang_router(shop, backend),
        targets.litellm(shop, backend),
        targets.guarded_mesh(shop, "mesh", fast),
    )
    everyone = [backend, *(stack.enter_context(other) for other in others)]
    alone = fast | {"stream_window_ms": 0}
    per_token = targets.guarded_mesh(shop, "mesh-per-token", alone, targets.MESH_PER_TOKEN)
    return everyone, stack.enter_context(per_token)


def latency(results: Results) -> Figure:
    """Return the latency that each adds.

    All of the mesh's and the prototype's counts, for their worker is behind the bus; a proxy's
    counts beyond that of the backend behind it.
    """
    floor = results[DIRECT].p50
    return Figure(
        name="added latency p50, 1 client",
        unit="ms",
        value=results[MESH].p50,
        peers={
            PROTOTYPE: results[PROTOTYPE].p50,
            peers.SGLANG_ROUTER: results[peers.SGLANG_ROUTER].p50 - floor,
            peers.LITELLM: results[peers.LITELLM].p50 - floor,
        },
        goal=Goal(text=f"≤ {ADDED_MS:g} ms", at_most=ADDED_MS),
        note=f"{SHORT} tokens, not streamed; mesh p99 {results[MESH].p99:.2f} ms; "
        f"the backend itself takes {floor:.3f} ms",
    )


def throughput(results: Results) -> tuple[Figure, ...]:
    """Return the answers per second of many clients."""
    name = f"requests/s, {MANY} clients"
    note = f"{SHORT} tokens each, not streamed"
    return _rate(name, results, MESH, note), _cpu(f"{name}: processor time each", results, MESH)


def streaming(results: Results) -> tuple[Figure, ...]:
    """Return the streams per second of many clients: as shipped, and with an event per token."""
    title = f"streams/s, {MANY} clients, {LONG} tokens"
    events = ", ".join(f"{name} {each.events:.0f}" for name, each in results.items())
    firsts = ", ".join(f"{name} {each.first_token:.1f}" for name, each in results.items())
    return (
        _rate(f"{title}, as shipped", results, MESH, f"events per stream: {events}"),
        _cpu(f"{title}, as shipped: processor time each", results, MESH),
        _rate(
            f"{title}, an event per token",
            results,
            MESH_PER_TOKEN,
            f"first token p50 in ms: {firsts}",
        ),
        _cpu(f"{title}, an event per token: processor time each", results, MESH_PER_TOKEN),
    )


def _rate(name: str, results: Results, ours: str, note: str) -> Figure:
    floor = results[peers.SGLANG_ROUTER].rate
    return Figure(
        name=name,
        unit="/s",
        value=results[ours].rate,
        peers={other: results[other].rate for other in (*OTHERS, DIRECT)},
        goal=Goal(text=f"≥ {peers.SGLANG_ROUTER}", at_least=floor),
        note=note,
    )


def _cpu(name: str, results: Results, ours: str) -> Figure:
    parts = ", ".join(f"{part} {spent:.3f}" for part, spent in results[ours].cpu_ms.items())
    return Figure(
        name=name,
        unit="ms",
        value=results[ours].cpu,
        peers={other: results[other].cpu for other in OTHERS},
        note=f"{parts}; a proxy's is without the backend's {results[DIRECT].cpu:.3f}",
    )
