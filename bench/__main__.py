"""``python -m bench [ROW]...``: measure, print a table, write ``build/bench/results.json``.

Ends with 0 also where a goal is missed: these are figures, not tests. Ends with 1 if a row could
not be measured.
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil
from rich.console import Console

from bench import engine, figures, peers
from bench.failures import BenchError
from bench.figures import Report, Row
from bench.rows import gateway, jobs, memory, overload, router
from bench.targets import Workshop
from mesh import logs

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
WIDTH = 110
"""Columns of a table that no terminal limits."""
ENGINE = "engine"
ROWS: dict[str, Callable[[Workshop, float, int], Row]] = {
    "gateway": gateway.measure,
    "memory": memory.measure,
    "overload": overload.measure,
    "router": router.measure,
    "jobs": jobs.measure,
    **{f"{ENGINE}/{name}": row for name, row in engine.ROWS.items()},
}
GROUPS = (*(name for name in ROWS if "/" not in name), ENGINE)
"""What can be asked for; the engine's rows can also be asked for one by one."""


def main() -> int:
    """Measure the rows that are asked for, all by default."""
    arguments = _parse()
    _allow_open_files()
    os.chdir(ROOT)  # children import bench from here
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        del os.environ[name]  # settings of the mesh that someone works with here
    logs.configure(logs.LogLevel.WARNING)  # of the parts that run in this process
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        shop = Workshop(folder=Path(folder), cache=BUILD, console=console)
        shop.log("").parent.mkdir()
        report = _measure(shop, arguments)
        shutil.copytree(shop.log("").parent, BUILD / "logs", dirs_exist_ok=True)
    figures.write(report, BUILD / "results.json")
    figures.show(report, console)
    return 1 if report.failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(GROUPS))
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=engine.ROWS,
        help=f"of the engine's rows: {', '.join(engine.ROWS)}",
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of every single load")
    parser.add_argument("--rounds", type=int, default=3, help="of loads on every target")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(GROUPS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return arguments


def _chosen(rows: list[str], only: list[str] | None) -> list[str]:
    """Return the rows to measure: all of the groups that are asked for, or some of the engine's."""
    wanted = {f"{ENGINE}/{name}" for name in only or engine.ROWS}
    groups = rows or ([ENGINE] if only else GROUPS)
    return [
        name
        for name in ROWS
        if name.partition("/")[0] in groups and ("/" not in name or name in wanted)
    ]


def _allow_open_files() -> None:
    """Raise the limit of descriptors: a thousand streams need more than some systems grant."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _measure(shop: Workshop, arguments: argparse.Namespace) -> Report:
    machine = _machine()
    rows: dict[str, Row] = {}
    failures: dict[str, str] = {}
    for name in _chosen(arguments.rows, arguments.only):
        shop.say(f"[bold]{name}[/]")
        try:
            rows[name] = ROWS[name](shop, arguments.seconds, arguments.rounds)
        except (BenchError, OSError, subprocess.SubprocessError, psutil.Error) as failure:
            failures[name] = f"{type(failure).__name__}: {failure}"
    return Report(machine=machine, rows=rows, failures=failures)


def _machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "inference-mesh": metadata.version("inference-mesh"),
        **{name: peers.version(name) for name in (peers.LITELLM, peers.SGLANG_ROUTER)},
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    sys.exit(main())
