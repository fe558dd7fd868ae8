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

from bench import figures, peers
from bench.failures import BenchError
from bench.figures import Report, Row
from bench.rows import gateway, memory, router
from bench.targets import Workshop

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
WIDTH = 110
"""Columns of a table that no terminal limits."""
ROWS: dict[str, Callable[[Workshop, float, int], Row]] = {
    "gateway": gateway.measure,
    "memory": memory.measure,
    "router": router.measure,
}


def main() -> int:
    """Measure the rows that are asked for, all by default."""
    arguments = _parse()
    _allow_open_files()
    os.chdir(ROOT)  # children import bench from here
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        del os.environ[name]  # settings of the mesh that someone works with here
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        shop = Workshop(folder=Path(folder), cache=BUILD / "peers", console=console)
        report = _measure(shop, arguments)
        shutil.copytree(shop.log("").parent, BUILD / "logs", dirs_exist_ok=True)
    figures.write(report, BUILD / "results.json")
    figures.show(report, console)
    return 1 if report.failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=4.0, help="of every single load")
    parser.add_argument("--rounds", type=int, default=3, help="of loads on every target")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - ROWS.keys()
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return arguments


def _allow_open_files() -> None:
    """Raise the limit of descriptors: a thousand streams need more than some systems grant."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _measure(shop: Workshop, arguments: argparse.Namespace) -> Report:
    machine = _machine()
    rows: dict[str, Row] = {}
    failures: dict[str, str] = {}
    for name in arguments.rows or ROWS:
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
