"""Cores and memory that an engine may use."""

import os
from pathlib import Path

import psutil
import pytest

from workers.llama import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup of our own whose limits a test may write."""
    monkeypatch.setattr(machine, "_cgroups", lambda: iter([tmp_path]))
    return tmp_path


def test_one_core_is_left_to_the_bus() -> None:
    """An engine uses all usable cores but one, and at least one."""
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or 1)
    assert machine.default_threads() == max(1, machine.usable_cores() - 1)


def test_a_cpu_quota_counts(cgroup: Path) -> None:
    """A container with half a core gets one thread, however many cores the machine has."""
    (cgroup / "cpu.max").write_text("50000 100000\n")
    assert machine.usable_cores() == 1


def test_no_quota_means_all_cores(cgroup: Path) -> None:
    """The word max sets no limit."""
    (cgroup / "cpu.max").write_text("max 100000\n")
    assert machine.usable_cores() >= 1


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process pinned to one CPU has one core; two hyper-threads of a core are one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(machine, "_siblings", lambda _: "0-1")
    assert machine.usable_cores() == 1


def test_a_memory_limit_counts(cgroup: Path) -> None:
    """Free memory is what the limit leaves; page cache that is not in use counts as free."""
    (cgroup / "memory.max").write_text("1000000\n")
    (cgroup / "memory.current").write_text("600000\n")
    (cgroup / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert machine.free_memory() == 500_000


def test_without_a_limit_the_machine_s_memory_counts(cgroup: Path) -> None:
    """The word max sets no limit."""
    (cgroup / "memory.max").write_text("max\n")
    assert 0 < machine.free_memory() <= psutil.virtual_memory().total
