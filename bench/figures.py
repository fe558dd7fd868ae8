"""What a benchmark tells: figures beside the peers' and the goals, as a table and as a file."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.wire import Message


class Goal(Message, frozen=True, kw_only=True):
    """What a figure should reach; ``text`` says it for people."""

    text: str
    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Tell whether a value reaches the goal."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is None or value >= self.at_least


class Figure(Message, frozen=True, kw_only=True):
    """One number of the mesh, and the same number of whoever was measured in the same run."""

    name: str
    unit: str
    value: float
    peers: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None
    note: str = ""


class Row(Message, frozen=True, kw_only=True):
    """What one part of the benchmark found; ``details`` is everything that was recorded."""

    figures: tuple[Figure, ...]
    details: object = None


class Report(Message, frozen=True, kw_only=True):
    """A whole run; ``failures``: rows that could not be measured, and why."""

    machine: dict[str, str]
    rows: dict[str, Row]
    failures: dict[str, str]


def write(report: Report, file: Path) -> None:
    """Write a report as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def show(report: Report, console: Console) -> None:
    """Print a report."""
    shown = [figure for row in report.rows.values() for figure in row.figures]
    if shown:
        console.print(_table(shown))
    for figure in shown:
        if figure.note:
            console.print(f"[dim]{figure.name}: {figure.note}[/]", highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    for row, failure in report.failures.items():
        console.print(f"[red]{row} could not be measured:[/] {escape(failure)}", highlight=False)


def _table(figures: Sequence[Figure]) -> Table:
    table = Table(title="inference-mesh and others in the same run", show_lines=True)
    table.add_column("figure", overflow="fold")
    table.add_column("mesh", justify="right", no_wrap=True)
    table.add_column("others (mesh / other)", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    for figure in figures:
        others = [
            f"{peer} {number(value)} ({ratio(figure.value, value)})"
            for peer, value in figure.peers.items()
        ]
        value = f"{number(figure.value)} {figure.unit}"
        table.add_row(figure.name, value, "\n".join(others), verdict(figure))
    return table


def verdict(figure: Figure) -> str:
    """Return a figure's goal, and whether it was met."""
    if figure.goal is None:
        return ""
    met = figure.goal.met(figure.value)
    return f"{figure.goal.text}  " + ("[green]pass[/]" if met else "[red]miss[/]")


def number(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(value: float, other: float) -> str:
    """Return how often ``other`` goes into ``value``."""
    return f"{value / other:.2f}x" if other > 0 else "-"
