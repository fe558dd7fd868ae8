"""``mesh models``: the models that the workers of the mesh serve now."""

from collections.abc import Sequence

from rich.table import Table

from cli.directory import View, WatchOptions, show
from cli.options import BusOptions, LogOptions, OutputOptions, StateOptions
from mesh.fleet import Fleet, ModelSummary


def models(
    *,
    output: OutputOptions = OutputOptions(),
    watch: WatchOptions = WatchOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """List the models of the mesh, and how much room there is for each."""
    show(View(records=Fleet.models, table=_table), bus, state.state, output, watch, log)


def _table(fleet: Fleet) -> Table:
    table = Table("model", "tiers", "state", box=None)
    for heading in ("workers", "slots free", "context"):
        table.add_column(heading, justify="right")
    for model in fleet.models():
        table.add_row(*_row(model))
    return table


def _row(model: ModelSummary) -> Sequence[str]:
    tiers = [tier for tier, there in (("edge", model.edge), ("cloud", model.cloud)) if there]
    return (
        model.name,
        ", ".join(tiers),
        model.state,
        str(model.workers),
        f"{model.slots_free}/{model.slots}",
        f"{model.context:,}" if model.context else "-",
    )
