"""How a part says that it serves."""

import os
import socket
from pathlib import Path

import pytest

from cli.readiness import Announcer, Progress, Ready, notices


async def test_the_supervisor_hears_progress_and_readiness() -> None:
    """Both travel through the pipe in order, and its end tells that there is no more."""
    reading, writing = os.pipe()
    with Announcer(writing, None) as announcer:
        announcer.progress("loading spark 40 %")
        announcer.ready("spark: 4 slots", "w1")
    heard = [notice async for notice in notices(reading)]
    os.close(reading)
    assert heard == [Progress("loading spark 40 %"), Ready("spark: 4 slots", "w1")]


async def test_a_part_that_dies_unready_ends_the_notices() -> None:
    """A closed pipe without the word ready is how the supervisor sees a failed start."""
    reading, writing = os.pipe()
    os.close(writing)
    assert [notice async for notice in notices(reading)] == []
    os.close(reading)


def test_processes_of_the_part_do_not_hold_the_pipe_open() -> None:
    """An engine process started later does not inherit the descriptor."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with Announcer(writing, None):
        assert not os.get_inheritable(writing)
    os.close(reading)


def test_the_ready_file_is_there_while_the_part_serves(tmp_path: Path) -> None:
    """A health check by file sees loading and draining as not healthy."""
    file = tmp_path / "ready"
    with Announcer(None, file) as announcer:
        announcer.progress("loading")
        assert not file.exists()
        announcer.ready("serving")
        assert file.exists()
        announcer.stopping()
        assert not file.exists()


def test_a_part_that_fails_takes_its_ready_file_along(tmp_path: Path) -> None:
    """An error does not leave a healthy-looking file behind."""
    file = tmp_path / "ready"

    def serve() -> None:
        with Announcer(None, file) as announcer:
            announcer.ready("serving")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        serve()
    assert not file.exists()


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The datagrams are those of sd_notify(3)."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        with Announcer(None, None) as announcer:
            announcer.progress("loading spark")
            announcer.ready("spark: 4 slots")
            announcer.stopping()
        said = [systemd.recv(256) for _ in range(3)]
    assert said == [b"STATUS=loading spark", b"READY=1\nSTATUS=spark: 4 slots", b"STOPPING=1"]
