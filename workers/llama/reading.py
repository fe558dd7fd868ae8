"""What a choice's text means: answer, reasoning or tool calls, told apart while it streams."""

from typing import Protocol

import msgspec

from schemas.frames import ToolCallDelta


class Reading(msgspec.Struct, frozen=True, gc=False):
    """New output, sorted by what it is."""

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def __add__(self, other: "Reading") -> "Reading":
        """Return both, one after the other."""
        return Reading(
            self.content + other.content,
            self.reasoning + other.reasoning,
            self.tool_calls + other.tool_calls,
        )


NOTHING = Reading()


class Reader(Protocol):
    """Reads one choice's text."""

    @property
    def has_calls(self) -> bool:
        """Whether a tool call was found."""
        ...

    @property
    def is_holding(self) -> bool:
        """Whether text was pushed that no Reading has shown yet.

        The tokens of held text are not to be given out: replaying the tokens of all that was shown
        brings a new reader into exactly this state.
        """
        ...

    def push(self, text: str) -> Reading:
        """Take the next text; return what is certain by now."""
        ...

    def finish(self) -> Reading:
        """Return what was held: the output has ended."""
        ...


class WholePushes:
    """Shows the text of a push as a whole or, while any of it is held, not at all.

    Otherwise a token could be half shown, and a resume would repeat or lose that half.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept = NOTHING

    @property
    def has_calls(self) -> bool:
        """Whether a tool call was found."""
        return self._reader.has_calls

    @property
    def is_holding(self) -> bool:
        """Whether text was pushed that no Reading has shown yet."""
        return self._reader.is_holding

    def push(self, text: str) -> Reading:
        """Take the next text; return everything that is certain, if nothing is held."""
        reading = self._reader.push(text)
        if self._kept is NOTHING and not self._reader.is_holding:
            return reading
        self._kept += reading
        return NOTHING if self._reader.is_holding else self._release()

    def finish(self) -> Reading:
        """Return what was held."""
        self._kept += self._reader.finish()
        return self._release()

    def _release(self) -> Reading:
        kept, self._kept = self._kept, NOTHING
        return kept
