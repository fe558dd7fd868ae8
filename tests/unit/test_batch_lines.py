"""The lines of a batch's file: told apart, and looked at before anything is computed."""

import itertools
import json
from collections.abc import AsyncIterator

import pytest

from gateway.batches.lines import MOST_ERRORS, Inspector, RawLine, Rules, read_line, split
from schemas.openai.batches import BatchError

CHAT = "/v1/chat/completions"


async def pieces_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def lines_of(content: bytes, size: int = 7, longest: int = 100) -> list[RawLine]:
    return [line async for line in split(pieces_of(content, size), longest)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_lines_are_told_apart_wherever_pieces_end(size: int) -> None:
    """Numbers count blank lines, which are no requests; the last line needs no end."""
    content = b'{"a":1}\r\n\n  {"b":2}\n\t\n{"c":3}'
    found = await lines_of(content, size)
    assert found == [RawLine(1, b'{"a":1}'), RawLine(3, b'{"b":2}'), RawLine(5, b'{"c":3}')]


@pytest.mark.parametrize("size", [1, 16, 1000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nshort"])
async def test_a_line_that_is_too_long_is_not_held(size: int, end: bytes) -> None:
    """It is named by its number, and what follows is read as ever."""
    found = await lines_of(b"short\n" + b"x" * 300 + end, size)
    rest = [RawLine(3, b"short")] if end.endswith(b"t") else []
    assert found == [RawLine(1, b"short"), RawLine(2, None), *rest]


def inspector(most: int = 10) -> Inspector:
    rules = Rules(endpoint=CHAT, most=most, longest=100, serves=lambda model: model == "here")
    return Inspector(rules)


def asked(**changes: object) -> dict[str, object]:
    body = {"model": "here", "messages": []}
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": body} | changes


def fault_of(line: object) -> BatchError | None:
    raw = line if isinstance(line, bytes) else json.dumps(line).encode()
    looking = inspector()
    looking.look(RawLine(7, raw))
    return looking.errors[0] if looking.errors else None


def test_a_right_line_is_read() -> None:
    """Its name and its body come out as they were."""
    assert fault_of(asked()) is None
    line = read_line(RawLine(7, json.dumps(asked()).encode()), 5)
    assert (line.place, line.custom_id) == (5, "a")
    assert json.loads(line.body) == {"model": "here", "messages": []}


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None),
        (b'{"a":' * 100_000, "invalid_json_line", None),
        (asked(custom_id=7), "invalid_custom_id", "custom_id"),
        (asked(custom_id=""), "invalid_custom_id", "custom_id"),
        ({"method": "POST", "url": CHAT, "body": {}}, "invalid_custom_id", "custom_id"),
        (asked(method="post"), "invalid_method", "method"),
        (asked(url="/v1/embeddings"), "invalid_url", "url"),
        (asked(url=None), "invalid_url", "url"),
        (asked(body=[]), "invalid_body", "body"),
        ({"custom_id": "a", "method": "POST", "url": CHAT}, "invalid_body", "body"),
        (asked(body={}), "missing_required_parameter", "body.model"),
        (asked(body={"model": 3}), "missing_required_parameter", "body.model"),
        (asked(body={"model": "gone"}), "model_not_found", "body.model"),
        (asked(body={"model": "here", "stream": True}), "stream_not_supported", "body.stream"),
    ],
)
def test_a_fault_is_told_with_code_line_and_field(
    line: object, code: str, param: str | None
) -> None:
    """Whatever is wrong with a line has a code for programs, and says where it is."""
    fault = fault_of(line)
    assert fault is not None
    assert (fault.code, fault.param, fault.line) == (code, param, 7)


@pytest.mark.parametrize(("default", "code"), [("here", None), ("gone", "model_not_found")])
def test_a_line_without_a_model_gets_the_default(default: str, code: str | None) -> None:
    """It is looked at as if the line had named it."""
    rules = Rules(
        endpoint=CHAT, most=1, longest=100, serves=lambda m: m == "here", default_model=default
    )
    looking = Inspector(rules)
    looking.look(RawLine(1, json.dumps(asked(body={})).encode()))
    assert [error.code for error in looking.errors] == ([code] if code else [])


def test_a_name_is_used_once() -> None:
    """The second line with a custom_id is the one at fault."""
    looking = inspector()
    for number in (1, 2):
        looking.look(RawLine(number, json.dumps(asked()).encode()))
    assert [(error.code, error.line) for error in looking.errors] == [("duplicate_custom_id", 2)]


def test_a_file_has_some_lines_and_not_too_many() -> None:
    """An empty file is wrong, and so is one beyond the cap, where looking ends."""
    empty = inspector()
    empty.finish()
    assert [error.code for error in empty.errors] == ["empty_file"]
    full = inspector(most=2)
    for number in range(1, 4):
        assert not full.has_seen_enough
        full.look(RawLine(number, json.dumps(asked(custom_id=str(number))).encode()))
    assert full.has_seen_enough
    assert [error.code for error in full.errors] == ["too_many_requests"]


def test_faults_are_told_up_to_a_number() -> None:
    """A file that is wrong everywhere is not read to its end."""
    looking = inspector(most=1_000_000)
    numbers = itertools.takewhile(lambda _: not looking.has_seen_enough, itertools.count(1))
    for number in numbers:
        looking.look(RawLine(number, b"{"))
    assert len(looking.errors) == MOST_ERRORS
