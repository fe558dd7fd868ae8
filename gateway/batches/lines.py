"""The lines of a batch's file: told apart, and looked at before anything is computed. Pure."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET

from schemas.openai.batches import BatchError, InputBody, InputLine
from schemas.wire import UNREADABLE

MOST_ERRORS: Final = 100
"""Faults that are told of one file; who has more has made the same one everywhere."""
LONGEST_CUSTOM_ID: Final = 512
NO_MODEL: Final = "model_not_found"

_lines = msgspec.json.Decoder(InputLine)
_bodies = msgspec.json.Decoder(InputBody)


@dataclass(frozen=True)
class RawLine:
    """A line that holds something; ``raw`` is ``None`` for one that is too long to be held.

    number: in the file, from 1; lines that hold nothing count.
    """

    number: int
    raw: bytes | None


@dataclass(frozen=True)
class Line:
    """A line that was looked at and found right; place: the how many-th request it is, from 1."""

    place: int
    custom_id: str
    body: bytes


async def split(pieces: AsyncIterator[bytes], longest: int) -> AsyncIterator[RawLine]:
    """Yield the lines of a file, numbered from 1; no more than a long line is held at a time."""
    rest, number, too_long = bytearray(), 0, False
    async for piece in pieces:
        *whole, last = piece.split(b"\n")
        for end in whole:
            number += 1
            if too_long or len(rest) + len(end) > longest:
                yield RawLine(number, None)
            elif line := (bytes(rest) + end).strip():
                yield RawLine(number, line)
            rest.clear()
            too_long = False
        too_long = too_long or len(rest) + len(last) > longest
        if too_long:
            rest.clear()
        else:
            rest += last
    if too_long:
        yield RawLine(number + 1, None)
    elif line := bytes(rest).strip():
        yield RawLine(number + 1, line)


def read_line(line: RawLine, place: int) -> Line:
    """Return a line that was found right; ``place``: as in ``Line``."""
    decoded = _lines.decode(line.raw or b"")
    return Line(place, decoded.custom_id, bytes(decoded.body))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What lines have to be like.

    serves: tells whether a model may be asked for. default_model: that of lines that name none.
    """

    endpoint: str
    most: int
    longest: int
    serves: Callable[[str], bool]
    default_model: str | None = None


class Inspector:
    """Looks at the lines of a file, one after the other."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._seen: set[bytes] = set()
        self.errors: list[BatchError] = []
        self.total = 0

    @property
    def has_seen_enough(self) -> bool:
        """Whether there is no need to look any further."""
        return self.total > self._rules.most or len(self.errors) >= MOST_ERRORS

    @property
    def misses_models(self) -> bool:
        """Whether lines ask for models that nobody serves."""
        return any(error.code == NO_MODEL for error in self.errors)

    def look(self, line: RawLine) -> None:
        """Look at one line."""
        self.total += 1
        if self.total > self._rules.most:
            text = f"The file has more than {self._rules.most} requests."
            self.errors.append(BatchError(code="too_many_requests", message=text))
            return
        fault = self._fault(line)
        if fault is not None:
            self.errors.append(fault)

    def finish(self) -> None:
        """Look at the file as a whole."""
        if not self.total:
            self.errors.append(BatchError(code="empty_file", message="The file has no requests."))

    def _fault(self, line: RawLine) -> BatchError | None:
        if line.raw is None:
            text = f"The line is longer than {self._rules.longest} bytes."
            return _error(line, "line_too_long", text)
        try:
            decoded = _lines.decode(line.raw)
            line.raw.decode()  # msgspec does not look into what it skips
        except UNREADABLE:
            return _error(line, "invalid_json_line", "The line is not a valid JSON object.")
        return self._fault_of_head(line, decoded) or self._fault_of_body(line, decoded.body)

    def _fault_of_head(self, line: RawLine, decoded: InputLine) -> BatchError | None:
        name = decoded.custom_id
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_CUSTOM_ID:
            text = f"'custom_id' is a text of 1 to {LONGEST_CUSTOM_ID} characters."
            return _error(line, "invalid_custom_id", text, "custom_id")
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._seen:
            text = "The custom_id of the line was used before in this file."
            return _error(line, "duplicate_custom_id", text, "custom_id")
        self._seen.add(digest)
        if decoded.method != "POST":
            return _error(line, "invalid_method", "'method' has to be POST.", "method")
        if decoded.url != self._rules.endpoint:
            text = f"'url' has to be the batch's endpoint, {self._rules.endpoint}."
            return _error(line, "invalid_url", text, "url")
        return None

    def _fault_of_body(self, line: RawLine, raw: msgspec.Raw) -> BatchError | None:
        try:
            body = _bodies.decode(raw)
        except UNREADABLE:
            return _error(line, "invalid_body", "'body' has to be an object.", "body")
        if body.stream not in (None, False):
            text = "'stream' is not supported in a batch."
            return _error(line, "stream_not_supported", text, "body.stream")
        model = self._rules.default_model if body.model is UNSET else body.model
        if not isinstance(model, str) or not model:
            text = "'body.model' has to name a model."
            return _error(line, "missing_required_parameter", text, "body.model")
        if not self._rules.serves(model):
            text = f"No worker serves the model {model[:256]!r}."
            return _error(line, NO_MODEL, text, "body.model")
        return None


def _error(line: RawLine, code: str, message: str, param: str | None = None) -> BatchError:
    return BatchError(code=code, message=message, param=param, line=line.number)
