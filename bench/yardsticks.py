"""Builds llama.cpp's own programs, once, from the sources of the very version that the mesh uses.

The source distribution of llama-cpp-python holds llama.cpp's sources; the installed package was
built from them with the same switches, so both sides compute with the same kernels.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from bench.failures import BenchError

PACKAGE = "llama-cpp-python"
TARGETS = ("llama-batched-bench", "llama-bench", "llama-server")
SWITCHES = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
"""Nothing of ggml's: its defaults are the package's, too (native instructions, OpenMP)."""
POLITE = 15
"""Niceness of the compiler, which takes some ten minutes."""


@dataclass(frozen=True)
class Yardsticks:
    """Where llama.cpp's programs lie."""

    folder: Path

    @property
    def batched_bench(self) -> Path:
        """Computes batches of random tokens; samples nothing, serves nobody: the limit."""
        return self.folder / "llama-batched-bench"

    @property
    def server(self) -> Path:
        """llama.cpp's own HTTP server."""
        return self.folder / "llama-server"


def yardsticks(cache: Path, console: Console) -> Yardsticks:
    """Return llama.cpp's programs; builds them if they are not there. Raises ``BenchError``."""
    home = cache / metadata.version(PACKAGE)
    built = Yardsticks(home / "build" / "bin")
    if not all((built.folder / target).exists() for target in TARGETS):
        for tool in ("cmake", "c++"):
            if shutil.which(tool) is None:
                raise BenchError(f"building llama.cpp's programs needs {tool}")
        _build(home, console)
    return built


def _build(home: Path, console: Console) -> None:
    source, build = home / "source", home / "build"
    if not source.exists():
        _unpack(home, console)
    switches = [f"-D{name}={value}" for name, value in SWITCHES.items()]
    _run(["cmake", "-S", str(source), "-B", str(build), *switches], home, console)
    jobs = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    compile_ = ["cmake", "--build", str(build), "-j", jobs, "--target", *TARGETS]
    _run(compile_, home, console)


def _unpack(home: Path, console: Console) -> None:
    """Fetch the source distribution and keep llama.cpp's part of it."""
    release = f"{PACKAGE}=={metadata.version(PACKAGE)}"
    download = home / "download"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE]
    _run([*pip, "--progress-bar=off", "--dest", str(download), release], home, console)
    with tarfile.open(next(download.glob("*.tar.gz"))) as archive:
        archive.extractall(download, filter="data")
    next(download.glob("*/vendor/llama.cpp")).rename(home / "source")
    shutil.rmtree(download)


def _run(command: list[str], home: Path, console: Console) -> None:
    """Run a step of the build, with its last line for progress."""
    home.mkdir(parents=True, exist_ok=True)
    step = subprocess.Popen(
        ["nice", "-n", str(POLITE), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert step.stdout is not None
    last: list[str] = []
    with step, console.status("llama.cpp's programs") as status:
        for line in step.stdout:
            last = [*last, line.strip()][-20:]
            status.update(f"building llama.cpp's programs, once: {line.strip()[:80]}")
    if step.returncode != 0:
        raise BenchError("llama.cpp's programs could not be built:\n" + "\n".join(last))
