"""The suites of others, pinned: an environment of their own, and the client's own tests."""

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.peers import environment

PINS = Path(__file__).parent / "requirements.txt"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Where the commands lie, and the unpacked source distribution of openai-python."""

    commands: Path
    openai: Path

    def command(self, name: str) -> str:
        """Return the path of a command."""
        return str(self.commands / name)


def install(folder: Path, console: Console) -> Tools:
    """Return the tools, installed below ``folder`` unless they are there already.

    Raises ``BenchError`` or ``CalledProcessError`` if the package index cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = environment("the suites of others", PINS, folder / "tools", console)
    return Tools(commands=commands, openai=_openai(commands, folder, console))


def _openai(commands: Path, folder: Path, console: Console) -> Path:
    """Return the source of the client, in the version that is installed beside it."""
    version = _version("openai")
    source = folder / f"openai-{version}"
    if not source.exists():
        fresh = folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        with console.status(f"downloading the source of openai {version}"):
            _download(commands, f"openai=={version}", fresh)
        with tarfile.open(next(fresh.glob("*.tar.gz"))) as archive:
            archive.extractall(fresh, filter="data")
        (fresh / source.name).rename(source)  # last, so that a half-unpacked one is never used
        shutil.rmtree(fresh)
    return source


def _download(commands: Path, what: str, target: Path) -> None:
    command = [str(commands / "pip"), "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(target), what], check=True, stdout=subprocess.PIPE)


def _version(name: str) -> str:
    """Return the pinned version of a package, extras or not."""
    for line in PINS.read_text().splitlines():
        package, _, version = line.partition("==")
        if package.partition("[")[0] == name:
            return version.partition(";")[0].strip()
    raise LookupError(f"{name} is not in {PINS.name}")
