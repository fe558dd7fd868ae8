"""Watches free output for the text with which a lazy constraint begins."""

from enum import Enum, auto

from workers.llama.grammar import Trigger
from workers.llama.reasoning import Phase


class _State(Enum):
    BEFORE = auto()
    """Nothing but blanks yet; the model may open a thought."""
    THOUGHT = auto()
    ANSWER = auto()
    OVER = auto()


class Watch:
    """Follows one choice's output, token by token."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self._openings = [opening.encode() for opening in trigger.openings]
        self._longest = max(map(len, self._openings))
        self._seen = b""
        self._state = _state(trigger)

    @property
    def is_over(self) -> bool:
        """Whether the constraint can no longer begin."""
        return self._state is _State.OVER

    def push(self, piece: bytes) -> bytes | None:
        """Take a token's bytes; return the output from the opening on once it is complete."""
        self._seen += piece
        if self._state is _State.BEFORE:
            self._before()
        if self._state is _State.THOUGHT:
            self._thought()
        if self._state is not _State.ANSWER:
            return None
        return self._anywhere() if self._trigger.is_anywhere else self._at_start()

    def _before(self) -> None:
        tags = self._trigger.tags
        opening = tags.opening.encode() if tags else b""
        start = self._seen.lstrip()
        if start.startswith(opening):
            self._state = _State.THOUGHT
        elif not opening.startswith(start):
            self._state = _State.ANSWER

    def _thought(self) -> None:
        tags = self._trigger.tags
        closing = tags.closing.encode() if tags else b""
        _, found, rest = self._seen.partition(closing)
        if found:
            self._state = _State.ANSWER
            self._seen = rest
        else:
            self._seen = self._seen[-len(closing) :]

    def _anywhere(self) -> bytes | None:
        found = [at for opening in self._openings if (at := self._seen.find(opening)) >= 0]
        if found:
            return self._seen[min(found) :]
        self._seen = self._seen[-self._longest :]
        return None

    def _at_start(self) -> bytes | None:
        start = b"".join(self._seen.split())
        if any(start.startswith(opening) for opening in self._openings):
            return self._seen.lstrip()
        if not any(opening.startswith(start) for opening in self._openings):
            self._state = _State.OVER
            self._seen = b""
        return None


def _state(trigger: Trigger) -> _State:
    if trigger.tags is None:
        return _State.ANSWER
    states = {
        Phase.BEFORE: _State.BEFORE,
        Phase.INSIDE: _State.THOUGHT,
        Phase.AFTER: _State.ANSWER,
    }
    return states[trigger.phase]
