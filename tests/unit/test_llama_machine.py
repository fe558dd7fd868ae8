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


def test_version_1_groups_count(cgroup: Path) -> None:
    """Older kernels keep the same limits in other files."""
    (cgroup / "cpu.cfs_quota_us").write_text("100000\n")
    (cgroup / "cpu.cfs_period_us").write_text("100000\n")
    (cgroup / "memory.limit_in_bytes").write_text("1000000\n")
    (cgroup / "memory.usage_in_bytes").write_text("900000\n")
    (cgroup / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 50000\n")
    assert machine.usable_cores() == 1
    assert machine.free_memory() == 150_000


def test_version_1_without_limits(cgroup: Path) -> None:
    """A quota of -1 and a limit near 2^63 are none."""
    (cgroup / "cpu.cfs_quota_us").write_text("-1\n")
    (cgroup / "cpu.cfs_period_us").write_text("100000\n")
    (cgroup / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (cgroup / "memory.usage_in_bytes").write_text("900000\n")
    assert machine.usable_cores() >= 1
    assert machine.free_memory() > 1_000_000


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("0::/a/b", {"a/b", "a", "unified/a/b", "."}),
        ("4:memory:/docker/1", {"memory/docker/1", "memory/docker", "memory"}),
        ("2:cpu,cpuacct:/x", {"cpu,cpuacct/x", "cpu/x", "cpu"}),
    ],
    ids=["version 2", "version 1", "joint controllers"],
)
def test_a_group_and_its_ancestors_are_looked_at(
    text: str, groups: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit may be set above, and a container may see its own group as the root."""
    monkeypatch.setattr(machine, "_read", lambda _: text)
    found = {str(group.relative_to(machine.CGROUP_ROOT)) for group in machine._cgroups()}
    assert groups <= found
