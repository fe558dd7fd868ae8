"""The run file, by which commands find a running mesh."""

import os
from pathlib import Path

import pytest

from mesh import runfile
from mesh.errors import BusUnavailable
from mesh.runfile import RunFile, RunningPart

GONE = 2**22 + 1
"""No process has this id: it is above the kernel's limit."""


def a_run(pid: int) -> RunFile:
    part = RunningPart(name="gateway", pid=pid, address="127.0.0.1:1")
    return RunFile(pid=pid, nats="nats://127.0.0.1:4222", creds={"client": "c.nk"}, parts=(part,))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A run of a live process is found as it was written."""
    run = a_run(os.getpid())
    runfile.write(tmp_path, run)
    assert run == runfile.read(tmp_path)


def test_a_run_whose_supervisor_died_is_not_there(tmp_path: Path) -> None:
    """What a crash left behind does not count as running."""
    runfile.write(tmp_path, a_run(GONE))
    assert runfile.read(tmp_path) is None


def test_a_malformed_file_is_no_run(tmp_path: Path) -> None:
    """A file that somebody else wrote is not trusted."""
    runfile.path_in(tmp_path).write_text('{"pid": "x"')
    assert runfile.read(tmp_path) is None


def test_requiring_a_run_says_what_to_do(tmp_path: Path) -> None:
    """Without a mesh the error names the ways to one."""
    with pytest.raises(BusUnavailable, match=r"`mesh up`.*--state.*--nats"):
        runfile.require(tmp_path)


def test_only_one_s_own_file_is_removed(tmp_path: Path) -> None:
    """A mesh that ends late does not take its successor's file along."""
    runfile.write(tmp_path, a_run(os.getppid()))
    runfile.remove(tmp_path)
    assert runfile.path_in(tmp_path).exists()
    runfile.write(tmp_path, a_run(os.getpid()))
    runfile.remove(tmp_path)
    assert not runfile.path_in(tmp_path).exists()
