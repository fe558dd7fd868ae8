"""Finds the end of a JSON object in a stream of text, without reading anything twice."""

import re

_NEXT = re.compile(r'["{}\[\]]')
_IN_TEXT = re.compile(r'["\\]')


class ObjectScanner:
    """Follows one JSON object from its opening brace to its end.

    It judges nesting only; whether it is JSON at all is for others to say.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = False
        self._is_escaped = False
        self.is_done = False

    def feed(self, text: str) -> int:
        """Take the next text; return how much of it belongs to the object."""
        at = 0
        while not self.is_done and at < len(text):
            if self._is_escaped:
                self._is_escaped = False
                at += 1
                continue
            found = (_IN_TEXT if self._in_text else _NEXT).search(text, at)
            if found is None:
                return len(text)
            self._turn(found[0])
            at = found.end()
        return at

    def _turn(self, character: str) -> None:
        match character:
            case '"':
                self._in_text = not self._in_text
            case "\\":
                self._is_escaped = True
            case "{" | "[":
                self._depth += 1
            case _:
                self._depth -= 1
                self.is_done = self._depth <= 0
