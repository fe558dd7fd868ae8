"""What this process may use of the machine: cores and memory, container limits included."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def usable_cores() -> int:
    """Return the physical cores this process may run on, capped by its CPU quota, at least 1."""
    return max(1, int(min([_physical_cores(), *(_quota(group) for group in _cgroups())])))


def default_threads() -> int:
    """Return the threads an engine should use: one core is left to the bus side.

    ggml's threads spin at barriers, so a core shared with a busy event loop slows all of them down.
    """
    return max(1, usable_cores() - 1)


def free_memory() -> int:
    """Return the bytes that can still be allocated, by the machine and by the cgroup's limit."""
    available = psutil.virtual_memory().available
    return max(0, int(min([available, *(_room(group) for group in _cgroups())])))


def _physical_cores() -> int:
    """Count distinct cores among the CPUs of the affinity mask: hyper-threads do not add any."""
    if not hasattr(os, "sched_getaffinity"):
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in cpus})


def _siblings(cpu: int) -> str:
    return _read(Path(_TOPOLOGY.format(cpu))) or str(cpu)


def _cgroups() -> Iterator[Path]:
    """Yield this process's cgroups and their ancestors: a limit on any of them holds.

    Version 2 has one tree; version 1 has one per controller, and in a container the path that
    the kernel names may lie outside of what is mounted, of which the root is then the own group.
    """
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in {"", "unified"} if not controllers else {controllers, *controllers.split(",")}:
            group = CGROUP_ROOT / mount / path.lstrip("/")
            yield from (p for p in (group, *group.parents) if p.is_relative_to(CGROUP_ROOT))


def _quota(group: Path) -> float:
    """Return the cores a group grants: ``cpu.max``, or version 1's ``cpu.cfs_quota_us``."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def _room(group: Path) -> float:
    """Return the bytes left under a group's limit; inactive page cache is given up on demand."""
    limit, used = _read(group / "memory.max"), _read(group / "memory.current")
    cache = "inactive_file"
    if not limit:
        limit = _read(group / "memory.limit_in_bytes")
        used, cache = _read(group / "memory.usage_in_bytes"), "total_inactive_file"
    if not (limit.isdigit() and used.isdigit()):
        return math.inf
    stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
    return int(limit) - int(used) + int(stat.get(cache, 0))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
