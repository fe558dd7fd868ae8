import pytest

from mesh.jetstream import Cluster, Replica
from mesh.leader import is_in_touch, read_head

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("seconds", "in_touch"),
    [((), True), ((1, 1), True), ((1, 60), True), ((60, 60), False), ((1, 9, 9, 9), False)],
)
def test_a_leader_speaks_for_a_majority(seconds: tuple[int, ...], in_touch: bool) -> None:
    """It counts itself and the servers that it heard from before they could elect another one."""
    replicas = tuple(Replica(active=each * SECOND) for each in seconds)
    assert is_in_touch(Cluster(leader="a", replicas=replicas or None)) is in_touch


def test_a_server_without_a_leader_speaks_for_nobody() -> None:
    """It answers, too, and says of the others that it has just heard from them."""
    assert not is_in_touch(Cluster(replicas=(Replica(), Replica(), Replica())))


def test_a_head_is_read_as_it_was_sent() -> None:
    """The line of the protocol is no header, and values may hold colons."""
    head = b"NATS/1.0\r\nKV-Operation: DEL\r\nName: a: b\r\n\r\n"
    assert read_head(head) == {"KV-Operation": "DEL", "Name": "a: b"}
    assert read_head(b"") == {}
