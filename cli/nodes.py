"""``mesh nodes``: the workers that advertise themselves now."""

from rich.filesize import decimal
from rich.table import Table

from cli.directory import View, WatchOptions, show
from cli.options import BusOptions, LogOptions, OutputOptions, StateOptions
from mesh.fleet import Fleet
from schemas.fleet import UNKNOWN, Advert, ModelStatus


def nodes(
    *,
    output: OutputOptions = OutputOptions(),
    watch: WatchOptions = WatchOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """List the workers of the mesh, with their models, slots and speed."""
    view = View(records=_adverts, table=_table)
    show(view, bus, state.state, output, watch, log)


def _adverts(fleet: Fleet) -> list[Advert]:
    return [node.advert for node in fleet.nodes()]


def _table(fleet: Fleet) -> Table:
    table = Table("worker", "tier", "model", "state", box=None)
    for heading in ("slots free", "context", "prefill t/s", "decode t/s", "memory free"):
        table.add_column(heading, justify="right")
    table.add_column("labels")
    for advert in _adverts(fleet):
        for model in advert.models or (ModelStatus(name="-"),):
            table.add_row(*_row(advert, model))
    return table


def _row(advert: Advert, model: ModelStatus) -> tuple[str, ...]:
    return (
        advert.worker,
        advert.tier,
        model.name,
        "draining" if advert.draining else model.state,
        _slots(model),
        f"{model.context:,}" if model.context else "-",
        f"{model.prefill_rate:,.0f}" if model.prefill_rate else "-",
        f"{model.decode_rate:,.0f}" if model.decode_rate else "-",
        decimal(advert.memory_free) if advert.memory_free else "-",
        " ".join(f"{key}={value}" for key, value in advert.labels.items()),
    )


def _slots(model: ModelStatus) -> str:
    """Return how many slots are free, and how many of these background work has at the moment."""
    free = f"{model.slots_free}/{model.slots}"
    lent = model.slots_free - model.slots_idle
    return f"{free} ({lent} lent)" if model.slots_idle != UNKNOWN and lent > 0 else free
