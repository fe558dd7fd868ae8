"""Checks of the machine: Python, cores, memory, disk, compiler."""

import importlib.util
import os
import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.filesize import decimal

from cli.checks.finding import Finding, fail, ok, warn
from workers.llama.machine import free_memory, usable_cores

OLDEST_PYTHON = (3, 11)
COMPILERS = ("c++", "g++", "clang++")
LITTLE_MEMORY = 1 << 30
LITTLE_DISK = 2 << 30
"""Bytes; the broker's job store and model files want room."""


def check_machine(state: Path) -> list[Finding]:
    """Return the findings about this machine."""
    return [
        check_python(sys.version_info[:2]),
        check_cores(usable_cores(), psutil.cpu_count(logical=True) or 1),
        check_memory(free_memory(), psutil.virtual_memory().total),
        check_state(state),
        check_compiler(),
        check_date(time.time(), Path(__file__).stat().st_mtime),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """Check the interpreter's version."""
    text = f"{platform.python_version()} at {sys.executable}"
    if version < OLDEST_PYTHON:
        return fail("python", text, "install Python 3.11 or newer: make PYTHON=python3.12 up")
    return ok("python", text)


def check_cores(usable: int, logical: int) -> Finding:
    """Check how many physical cores may be used, within affinity and container quota."""
    text = f"{usable} usable, of {logical} logical"
    if usable < 2:
        advice = "one core computes and carries messages; give this machine or container two"
        return warn("cores", text, advice)
    return ok("cores", text)


def check_memory(free: int, total: int) -> Finding:
    """Check how much memory is left, by the machine and by the container's limit."""
    text = f"{decimal(free)} free, of {decimal(total)}"
    if free < LITTLE_MEMORY:
        advice = "close programs, raise the container's limit, or choose a smaller model"
        return warn("memory", text, advice)
    return ok("memory", text)


def check_state(state: Path) -> Finding:
    """Check that the state folder, or the nearest folder above it, can be written and has room."""
    folder = next(path for path in (state, *state.parents) if path.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return fail("state", f"{folder} cannot be written", "choose another folder with --state")
    free = shutil.disk_usage(folder).free
    if free < LITTLE_DISK:
        advice = "free some disk space, or choose another folder with --state"
        return warn("state", f"{state}: {decimal(free)} free", advice)
    return ok("state", f"{state}: {decimal(free)} free")


def check_compiler() -> Finding:
    """Check for a C++ compiler, which only the installation of llama.cpp needs."""
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    built = importlib.util.find_spec("llama_cpp") is not None
    if found is None and not built:
        advice = "install one (Debian: apt-get install g++), then: make up"
        return fail("compiler", "no C++ compiler, and llama-cpp-python is not installed", advice)
    text = found or "none, and none needed"
    return ok("compiler", f"{text}; llama-cpp-python is {'' if built else 'not yet '}installed")


def check_date(now: float, installed: float) -> Finding:
    """Check that the clock is not before this program was installed, as after a lost battery."""
    text = datetime.fromtimestamp(now, UTC).isoformat(" ", "seconds")
    if now < installed:
        advice = "set the clock (NTP): certificates, budgets and logs go by it"
        return fail("date", f"{text} is before this program was installed", advice)
    return ok("date", text)
