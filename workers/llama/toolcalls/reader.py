"""Tells tool calls from text while both stream."""

import re
import secrets
import string
from collections.abc import Collection
from enum import Enum, auto

from schemas.frames import ToolCallDelta
from workers.llama.reading import NOTHING, Reading
from workers.llama.reasoning import certain
from workers.llama.toolcalls.arguments import ObjectScanner
from workers.llama.toolcalls.family import Family, Parts, partial_pattern, pattern

_ID_CHARACTERS = string.ascii_letters + string.digits
_ID_LENGTH = 24


class _State(Enum):
    TEXT = auto()
    """Content; a call may come."""
    HEAD = auto()
    """What may become a call is held until its arguments begin."""
    ARGUMENTS = auto()
    CLOSING = auto()
    BETWEEN = auto()
    """After a call: the next one, the end of all calls, or text."""
    REST = auto()
    """Content; no call can come any more."""


class _Matcher:
    """Recognises parts, and beginnings of them, at the start of a text."""

    def __init__(self, parts: Parts, then: str = "") -> None:
        self._whole = re.compile(pattern(parts) + then)
        self._partial = re.compile(partial_pattern(parts))

    def match(self, text: str) -> re.Match[str] | None:
        return self._whole.match(text)

    def may_become(self, text: str) -> bool:
        return self._partial.fullmatch(text) is not None


class Patterns:
    """A family's parts, ready for reading; shared by all readers of a model."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.openings = family.openings
        self.first = [_Matcher(parts, r"(?=\{)") for parts in family.first]
        self.again = [_Matcher(family.again, r"(?=\{)")]
        self.closing = _Matcher(family.closing)
        self.end = _Matcher(family.end) if family.end else None


class CallReader:
    """Reads one choice's answer. Calls of functions that do not exist are text."""

    def __init__(self, patterns: Patterns, names: Collection[str]) -> None:
        self._patterns = patterns
        self._names = names
        self._held = ""
        self._state = _State.TEXT if patterns.family.is_anywhere else _State.HEAD
        self._calls = 0
        self._scanner = ObjectScanner()
        self._steps = {
            _State.TEXT: self._text,
            _State.HEAD: self._head,
            _State.ARGUMENTS: self._arguments,
            _State.CLOSING: self._closing,
            _State.BETWEEN: self._between,
            _State.REST: self._rest,
        }

    @property
    def has_calls(self) -> bool:
        """Whether a tool call was found."""
        return self._calls > 0

    @property
    def is_holding(self) -> bool:
        """Whether text was pushed that no Reading has shown yet."""
        return bool(self._held)

    def push(self, text: str) -> Reading:
        """Take the next text; return what is certain by now."""
        self._held += text
        result = NOTHING
        before: tuple[_State, int] | None = None
        while self._held and before != (before := (self._state, len(self._held))):
            shown = self._steps[self._state]()
            result = shown if result is NOTHING else result + shown
        return result

    def finish(self) -> Reading:
        """Return what was held as text, unless it only surrounds a call."""
        held, self._held = self._held, ""
        is_around = self._state in (_State.CLOSING, _State.BETWEEN) or not held.strip()
        return NOTHING if self.has_calls and is_around else Reading(held)

    def _text(self) -> Reading:
        found = [at for text in self._patterns.openings if (at := self._held.find(text)) >= 0]
        if found:
            self._state = _State.HEAD  # which keeps the blanks, in case this is no call
            return Reading(self._take(len(self._held[: min(found)].rstrip())))
        return Reading(self._take(certain(self._held, self._patterns.openings)))

    def _head(self) -> Reading:
        blanks = _blanks(self._held)
        head = self._held[blanks:]
        if call := self._call(self._patterns.first, head):
            self._take(blanks + call.end())
            return self._begin(call["name"])
        if any(matcher.may_become(head) for matcher in self._patterns.first):
            return NOTHING
        if not self._patterns.family.is_anywhere:
            self._state = _State.REST
            return NOTHING
        self._state = _State.TEXT
        return Reading(self._take(blanks + 1))  # this opening is text; another one may follow

    def _arguments(self) -> Reading:
        piece = self._take(self._scanner.feed(self._held))
        if self._scanner.is_done:
            self._state = _State.CLOSING
        return Reading(tool_calls=(ToolCallDelta(index=self._calls - 1, arguments=piece),))

    def _closing(self) -> Reading:
        closing = self._patterns.closing
        if found := closing.match(self._held):
            self._take(found.end())
        elif closing.may_become(self._held):
            return NOTHING
        self._state = _State.BETWEEN
        return NOTHING

    def _between(self) -> Reading:
        end = self._patterns.end
        if call := self._call(self._patterns.again, self._held):
            self._take(call.end())
            return self._begin(call["name"])
        if end and (found := end.match(self._held)):
            self._take(found.end())
            self._state = _State.REST
        elif not self._may_go_on():
            self._state = _State.TEXT if self._patterns.family.is_anywhere else _State.REST
        return NOTHING

    def _rest(self) -> Reading:
        """Pass text on; after a call blanks are held, for at the end they mean nothing."""
        shown = self._held.rstrip() if self._calls else self._held
        return Reading(self._take(len(shown)))

    def _may_go_on(self) -> bool:
        end = self._patterns.end
        return any(matcher.may_become(self._held) for matcher in self._patterns.again) or bool(
            end and end.may_become(self._held)
        )

    def _call(self, matchers: list[_Matcher], text: str) -> re.Match[str] | None:
        found = next((match for m in matchers if (match := m.match(text))), None)
        return found if found and found["name"] in self._names else None

    def _begin(self, name: str) -> Reading:
        self._state = _State.ARGUMENTS
        self._scanner = ObjectScanner()
        self._calls += 1
        delta = ToolCallDelta(index=self._calls - 1, id=_new_id(), name=name)
        return Reading(tool_calls=(delta,))

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


def _blanks(text: str) -> int:
    return len(text) - len(text.lstrip())


def _new_id() -> str:
    return "call_" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
