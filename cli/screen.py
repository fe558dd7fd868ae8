"""One frame of ``mesh top``: from a snapshot to what a terminal shows. Pure."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from gateway.dashboard.fleet_view import model_total, worker_view
from mesh.fleet import Fleet
from mesh.seats import Node
from schemas.dashboard import FailureView, ModelView, Snapshot, WorkerView
from schemas.fleet import ModelState, Tier

COLOURS = {Tier.EDGE: "cyan", Tier.CLOUD: "yellow"}
BAR = 12
"""Cells of a bar of slots."""
SHARE_BAR = 24
SPARK = 60
"""Frames that the trace of the output looks back."""
SPARKS = " ▁▂▃▄▅▆▇█"
NOTHING = Snapshot(at=0.0, version="", uptime=0.0)
LISTED = 6
"""Failures that are listed."""


def adverts_only(fleet: Fleet) -> Snapshot:
    """Return what the adverts alone tell; rates are those that the workers measured."""
    return Snapshot(
        at=time.time(),
        version="",
        uptime=0.0,
        workers=tuple(_worker(node) for node in fleet.nodes()),
        models=tuple(map(model_total, fleet.models())),
    )


def combined(heard: Snapshot, told: Snapshot) -> Snapshot:
    """Return a gateway's snapshot with the workers as they advertise themselves here.

    How fast they answer through the gateway, it knows better than they do.
    """
    rates = {(worker.tier, worker.name): worker.tokens_per_second for worker in told.workers}
    workers = tuple(
        replace(
            worker,
            tokens_per_second=rates.get((worker.tier, worker.name), worker.tokens_per_second),
        )
        for worker in heard.workers
    )
    return replace(told, workers=workers, more_workers=0)


def _worker(node: Node) -> WorkerView:
    worker = worker_view(node, node.seats.values(), 0.0)
    rate = sum(model.decode_rate * (model.slots - model.free) for model in worker.models)
    return replace(worker, tokens_per_second=rate)


class Screen:
    """Draws frames, and remembers the output of the last minute."""

    def __init__(self, gateway: str = "") -> None:
        """``gateway``: the URL whose figures are shown, if any are."""
        self._gateway = gateway
        self._output: deque[float] = deque(maxlen=SPARK)

    def frame(self, now: Snapshot | None, lost: str = "") -> RenderableType:
        """Return the whole screen; ``lost``: why the gateway's figures are missing.

        now: ``None`` if nothing at all is known.
        """
        if now is None:
            return self._head(NOTHING, lost)
        has_gateway = bool(self._gateway) and bool(now.version)
        output = sum(worker.tokens_per_second for worker in now.workers)
        if has_gateway:
            output = now.edge.tokens_per_second + now.cloud.tokens_per_second
        self._output.append(output)
        parts = [self._head(now, lost), self._gauges(now, output, has_gateway), Text(), _fleet(now)]
        if has_gateway:
            parts += [Text(), _below(now)]
        return Group(*parts)

    def _head(self, now: Snapshot, lost: str) -> Text:
        head = Text.assemble(("inference-mesh", "bold"))
        if now.version and self._gateway:
            head.append(f"  {self._gateway}  up {_lasted(now.uptime)}", style="dim")
        elif self._gateway:
            head.append(f"  {self._gateway} {lost or 'is silent'}", style="red")
        else:
            head.append("  no gateway known: --gateway URL shows queue and flow", style="dim")
        return head

    def _gauges(self, now: Snapshot, output: float, has_gateway: bool) -> Table:
        slots = sum(model.slots for model in now.models)
        busy = slots - sum(model.free for model in now.models)
        table = Table.grid(padding=(0, 3))
        table.add_row("output", _amount(output, "tokens/s"), Text(self._spark(), style="cyan"))
        used = _bar(busy, slots, SHARE_BAR, "cyan")
        table.add_row("slots", f"{busy} of {slots}", used)
        if has_gateway:
            waiting = ", ".join(f"{m.name} {m.waiting}" for m in now.models if m.waiting)
            table.add_row("requests", f"{now.in_flight} open", f"in line: {waiting or 'none'}")
            saved = f"${now.edge.usd:,.4f} saved" if now.priced else "prices unknown"
            spent = f"${now.cloud.usd:,.4f} spent on the cloud" if now.priced else ""
            table.add_row("money", saved, spent)
        return table

    def _spark(self) -> str:
        top = max(self._output, default=0.0)
        if top <= 0:
            return ""
        return "".join(SPARKS[round(8 * value / top)] for value in self._output)


def _fleet(now: Snapshot) -> RenderableType:
    if not now.workers:
        return Text("No worker is here. Start one: mesh worker --model MODEL.gguf", style="yellow")
    table = Table("worker", "tier", "model", "slots", box=None, padding=(0, 2, 0, 0))
    table.add_column("tokens/s", justify="right")
    table.add_column("memory free", justify="right")
    for worker in now.workers:
        for index, model in enumerate(worker.models or (None,)):
            table.add_row(*_row(worker, model, is_first=index == 0))
    if now.more_workers:
        table.add_row(f"and {now.more_workers} more")
    return table


def _row(
    worker: WorkerView, model: ModelView | None, *, is_first: bool
) -> Iterable[RenderableType]:
    colour = COLOURS[worker.tier]
    tier = "draining" if worker.draining else worker.tier.value
    yield Text(worker.name if is_first else "", style="bold")
    yield Text(tier if is_first else "", style=colour)
    yield "-" if model is None else _named(model)
    yield "" if model is None else _slots(model, colour)
    yield _number(worker.tokens_per_second) if is_first else ""
    yield decimal(worker.memory_free) if is_first and worker.memory_free else ""


def _named(model: ModelView) -> Text:
    text = Text(model.name)
    if model.state is not ModelState.READY:
        share = f" {model.progress:.0%}" if model.state is ModelState.LOADING else ""
        style = "red" if model.state is ModelState.FAILED else "dim"
        text.append(f" {model.state}{share}", style=style)
    return text


def _slots(model: ModelView, colour: str) -> Text:
    busy = model.slots - model.free
    bar = _bar(busy, model.slots, min(BAR, max(1, model.slots)), colour)
    return bar.append(f" {busy}/{model.slots}")


def _bar(part: float, whole: float, cells: int, colour: str) -> Text:
    """Return a bar that can be read without colours, too."""
    filled = round(cells * part / whole) if whole else 0
    if part and not filled:
        filled = 1
    return Text.assemble(("█" * filled, colour), ("░" * (cells - filled), "dim"))


def _below(now: Snapshot) -> Table:
    """Return flow and failures side by side."""
    table = Table.grid(padding=(0, 4))
    table.add_row(_flow(now), _failures(now.failures))
    return table


def _flow(now: Snapshot) -> Table:
    total = now.edge.requests + now.cloud.requests + now.refused
    table = Table("where requests went", "", "", box=None, padding=(0, 2, 0, 0))
    for title, count, colour in (
        ("edge", now.edge.requests, COLOURS[Tier.EDGE]),
        ("cloud", now.cloud.requests, COLOURS[Tier.CLOUD]),
        ("nowhere", now.refused, "red"),
    ):
        table.add_row(title, f"{count:,}", _bar(count, total, SHARE_BAR, colour))
    for reason, count in sorted(now.fallbacks.items(), key=lambda item: -item[1]):
        table.add_row(Text(f"  {reason}", style="dim"), f"{count:,}", "")
    return table


def _failures(failures: Sequence[FailureView]) -> Table:
    table = Table("last failures", "", "", box=None, padding=(0, 2, 0, 0))
    for failure in failures[:LISTED]:
        at = datetime.fromtimestamp(failure.at).astimezone()
        table.add_row(f"{at:%H:%M:%S}", Text(failure.code, style="red"), failure.model)
    if not failures:
        table.add_row("none", "", "")
    return table


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"


def _lasted(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
