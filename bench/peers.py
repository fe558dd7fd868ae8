"""Installs the peers, each into a virtual environment of its own, once.

What is installed is pinned to the last dependency in ``bench/requirements``: a comparison whose
other side moves says nothing.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from bench.failures import BenchError

REQUIREMENTS = Path(__file__).parent / "requirements"
LITELLM = "litellm"
SGLANG_ROUTER = "sglang-router"


def version(name: str) -> str:
    """Return the pinned version of a peer."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


def install(name: str, folder: Path, console: Console) -> Path:
    """Return the folder of a peer's commands; installs it if these pins are not there yet."""
    pins = REQUIREMENTS / f"{name}.txt"
    return environment(f"{name} {version(name)}", pins, folder / name, console)


def environment(label: str, pins: Path, home: Path, console: Console) -> Path:
    """Return the folder of commands of a virtual environment with just these pins.

    Its folder is ``home`` with a digest of the pins. Raises ``BenchError`` with the end of pip's
    output if they cannot be installed.
    """
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    home = home.with_name(f"{home.name}-{digest}")
    complete = home / "complete"
    if not complete.exists():
        shutil.rmtree(home, ignore_errors=True)
        _fill(home, pins, label, console)
        complete.touch()
    return home / "bin"


def _fill(home: Path, pins: Path, label: str, console: Console) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    command = [str(home / "bin" / "pip"), "install", "--progress-bar=off", "-r", str(pins)]
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout is not None
    last: list[str] = []
    with pip, console.status(f"installing {label}") as status:
        for line in pip.stdout:
            last = [*last, line.strip()][-10:]
            status.update(f"installing {label}: {line.strip()[:80]}")
    if pip.returncode != 0:
        raise BenchError(f"{label} could not be installed:\n" + "\n".join(last))
