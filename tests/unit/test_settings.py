"""Addresses, pairs and the search for the configuration file."""

from pathlib import Path

import pytest

from mesh.settings import Address, find_config, is_loopback, lan_address, pair


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:0", "::1", 0),
        ("broker.lan:4222", "broker.lan", 4222),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    """Reading an address and writing it gives the same text."""
    address = Address.parse(text)
    assert (host, port, text) == (address.host, address.port, str(address))


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host", "host:", "host:http", "h:70000"])
def test_a_malformed_address_is_refused_with_an_example(text: str) -> None:
    """The error shows what an address looks like."""
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:8080"):
        Address.parse(text)


def test_an_ipv6_address_needs_brackets() -> None:
    """Without brackets nobody could tell the port from the address."""
    with pytest.raises(ValueError, match="brackets"):
        Address.parse("::1:8080")


def test_a_pair_is_split_at_the_first_equals_sign() -> None:
    """Values may hold further equals signs."""
    assert pair("gpt-4o = org/model=q4") == ("gpt-4o", "org/model=q4")


@pytest.mark.parametrize("text", ["", "name", "=value", "name=", " = "])
def test_half_a_pair_is_refused(text: str) -> None:
    """A pair has two sides."""
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        pair(text)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("192.168.1.7", False)]
)
def test_loopback_hosts_are_told_from_others(host: str, loopback: bool) -> None:
    """Only loopback listeners are out of reach for other machines."""
    assert is_loopback(host) is loopback


def test_a_wildcard_is_shown_as_an_address_others_can_dial() -> None:
    """Nobody can connect to a wildcard, so the machine's own address stands for it."""
    shown = lan_address(Address.parse("0.0.0.0:4222"))
    assert not shown.host.startswith("0.")


def test_a_given_host_is_shown_as_it_is() -> None:
    """An address that names a host needs no guess."""
    assert lan_address(Address("10.0.0.7", 4222)) == Address("10.0.0.7", 4222)


def test_the_folder_s_own_configuration_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file here is preferred to the user's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    users = tmp_path / "home" / "inference-mesh" / "mesh.toml"
    users.parent.mkdir(parents=True)
    users.touch()
    assert find_config(tmp_path) == users
    (tmp_path / "mesh.toml").touch()
    assert find_config(tmp_path) == tmp_path / "mesh.toml"


def test_no_configuration_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file the defaults hold."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert find_config(tmp_path) is None
