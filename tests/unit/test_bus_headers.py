"""Headers of messages, as the broker sends them."""

import pytest

from mesh.headers import WireHeaders, written


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"NATS/1.0\r\nA: b\r\nC:d e \r\n\r\n", {"A": "b", "C": "d e"}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
        (
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 7\r\n\r\n",
            {"Status": "100", "Description": "Idle Heartbeat", "Nats-Last-Stream": "7"},
        ),
        (b"NATS/1.0\r\nName: \xc3\xa4\xff\r\n\xff: x\r\nnonsense\r\n\r\n", {"Name": "ä\ufffd"}),
        (b"", {}),
    ],
)
def test_headers_and_status_are_read(raw: bytes, expected: dict[str, str]) -> None:
    """A status is a header, too; what is no header is passed over."""
    assert dict(WireHeaders(raw)) == expected


def test_what_is_written_is_read() -> None:
    """Headers come out as they went in."""
    headers = {"Nats-TTL": "1s", "Name": "ä: b"}
    assert dict(WireHeaders(written(headers))) == headers


@pytest.mark.parametrize("text", ["a\r\nB: c", "a\nB: c", "a\r"])
def test_no_header_smuggles_another_one_in(text: str) -> None:
    """A line break is refused, in a name as in a value."""
    for headers in ({"A": text}, {text: "a"}):
        with pytest.raises(ValueError, match="line break"):
            written(headers)
