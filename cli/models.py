"""``mesh models``: the models that the workers of the mesh have, and having them loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from cli.directory import View, WatchOptions, show
from cli.options import BusOptions, LogOptions, OutputOptions, StateOptions, UsageError, group
from cli.orders import Action, Order, give
from mesh.fleet import Fleet
from mesh.seats import Seat
from schemas.fleet import ModelState

DIGEST_SHOWN = 12


@group("Order")
@dataclass(frozen=True, kw_only=True)
class OrderOptions:
    """Who is told to load or unload."""

    on: str | None = None
    """Worker; default: every worker that has the model."""


def models(
    action: Action | None = None,
    model: str | None = None,
    /,
    *,
    order: OrderOptions = OrderOptions(),
    output: OutputOptions = OutputOptions(),
    watch: WatchOptions = WatchOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """List the models of the mesh, or have one loaded or unloaded: mesh models load NAME."""
    if action is None:
        show(View(records=Fleet.models, table=_table), bus, state.state, output, watch, log)
    elif model is None:
        raise UsageError(f"mesh models {action}: name a model")
    else:
        give(Order(action=action, model=model, worker=order.on), bus, state.state, log)


def _table(fleet: Fleet) -> Table:
    table = Table("model", "tier", "state", "worker", box=None)
    for heading in ("slots free", "context"):
        table.add_column(heading, justify="right")
    table.add_column("file")
    for seat in _seats(fleet):
        table.add_row(*_row(seat))
    return table


def _seats(fleet: Fleet) -> Iterator[Seat]:
    """Yield every model on every worker: by model, the edge first."""
    seats = (seat for node in fleet.nodes() for seat in node.seats.values())
    return iter(sorted(seats, key=lambda seat: seat.status.name))


def _row(seat: Seat) -> Sequence[str]:
    model = seat.status
    tier, worker = seat.node.key
    loading = f" {model.progress:.0%}" if model.state is ModelState.LOADING else ""
    return (
        model.name,
        tier,
        f"{model.state}{loading}",
        worker,
        f"{seat.free}/{model.slots}",
        f"{model.context:,}" if model.context else "-",
        model.digest[:DIGEST_SHOWN] or "-",
    )
