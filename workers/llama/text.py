"""From token pieces to text that can be shown: whole characters, and nothing of a stop text.

Output leaves in whole tokens only. That keeps text and token ids in step: replaying the ids of all
output so far continues a stream exactly where its text ends.
"""

from collections import deque
from collections.abc import Sequence

import msgspec


class Shown(msgspec.Struct, frozen=True, gc=False):
    """Text to show and the tokens it was made from."""

    text: str = ""
    ids: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ids)


class StopMatcher:
    """Finds one stop text in a stream of bytes (Knuth, Morris and Pratt's automaton).

    ``matched`` is the length of the longest beginning of the stop text with which the stream ends:
    so many bytes must be held back.
    """

    def __init__(self, stop: bytes) -> None:
        self.stop = stop
        self.matched = 0
        self._fallback = _fallbacks(stop)

    def feed(self, byte: int) -> bool:
        """Take the next byte; return whether the stop text is complete."""
        while self.matched and self.stop[self.matched] != byte:
            self.matched = self._fallback[self.matched - 1]
        self.matched += self.stop[self.matched] == byte
        return self.matched == len(self.stop)


def _fallbacks(stop: bytes) -> list[int]:
    """For each beginning of ``stop``, the length of its longest proper suffix that begins it."""
    table = [0] * len(stop)
    length = 0
    for at in range(1, len(stop)):
        while length and stop[at] != stop[length]:
            length = table[length - 1]
        length += stop[at] == stop[length]
        table[at] = length
    return table


class TextStream:
    """Turns one sequence's tokens into text, piece by piece."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._matchers = [StopMatcher(stop.encode()) for stop in stops]
        self._held = bytearray()
        self._tokens: deque[tuple[int, int]] = deque()  # (id, bytes), as held
        self.stopped = False
        """Whether a stop text was found; nothing may be pushed after that."""
        self.stop = ""
        """The stop text that was found."""

    def push(self, token: int, piece: bytes) -> Shown:
        """Take the next token; return what may be shown now."""
        if not self._matchers and not self._held and not incomplete_tail(piece):
            return Shown(piece.decode(errors="replace"), (token,))
        start = len(self._held)
        self._held += piece
        self._tokens.append((token, len(piece)))
        for at in range(start, len(self._held)):
            if (cut := self._stop_at(at)) is not None:
                self.stopped = True
                return self._cut(cut)
        return self._release(len(self._held) - self._withheld())

    def finish(self) -> Shown:
        """Return what was held back: all tokens, without a character that never became whole."""
        shown = self._take(len(self._held) - incomplete_tail(self._held), len(self._tokens))
        self._held.clear()
        return shown

    def _stop_at(self, at: int) -> int | None:
        """Return where the stop text begins that the byte at ``at`` completes, if one does."""
        byte = self._held[at]
        found = [matcher.stop for matcher in self._matchers if matcher.feed(byte)]
        if not found:
            return None
        longest = max(found, key=len)
        self.stop = longest.decode()
        return at + 1 - len(longest)

    def _withheld(self) -> int:
        return max((matcher.matched for matcher in self._matchers), default=0)

    def _release(self, limit: int) -> Shown:
        """Show the longest run of whole tokens that ends at a whole character within ``limit``."""
        end = count = best_end = best_count = 0
        for count, (_, size) in enumerate(self._tokens, 1):
            end += size
            if end > limit:
                break
            if not incomplete_tail(self._held[max(0, end - 3) : end]):
                best_end, best_count = end, count
        return self._take(best_end, best_count)

    def _cut(self, end: int) -> Shown:
        """Show everything before ``end``; the tokens after it are dropped."""
        shown = used = 0
        for _, size in self._tokens:
            if used >= end:
                break
            used += size
            shown += 1
        result = self._take(end, shown)
        self._held.clear()
        self._tokens.clear()
        return result

    def _take(self, end: int, count: int) -> Shown:
        text = self._held[:end].decode(errors="replace")
        del self._held[:end]
        return Shown(text, tuple(self._tokens.popleft()[0] for _ in range(count)))


def incomplete_tail(data: bytes | bytearray) -> int:
    """Return the bytes at the end of ``data`` that are the beginning of a longer character."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            return back if back < _width(byte) else 0
    return 0


def _width(lead: int) -> int:
    """Return the bytes of the character that a leading byte announces (RFC 3629)."""
    if 0xC2 <= lead <= 0xDF:
        return 2
    if 0xE0 <= lead <= 0xEF:
        return 3
    return 4 if 0xF0 <= lead <= 0xF4 else 1
