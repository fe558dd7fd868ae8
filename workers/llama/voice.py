"""One choice's output as it is shown: text, or what a reader makes of it, with its token ids.

Text, ids and log-probabilities leave together: what is held back keeps all three.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from workers.llama.messages import Output
from workers.llama.reading import Reader, Reading
from workers.llama.text import Shown, TextStream

Item = dict[str, Any]
"""OpenAI's form of one token's log-probability."""


class Voice:
    """Turns one choice's tokens into outputs."""

    def __init__(
        self,
        attempt: int,
        index: int = 0,
        *,
        stops: Sequence[str] = (),
        reader: Reader | None = None,
        items: deque[Item] | None = None,
    ) -> None:
        """``items``: where the sampler leaves the log-probabilities of each token, if it does."""
        self._attempt = attempt
        self._index = index
        self._text = TextStream(stops)
        self._reader = reader
        self._items = items
        self._held: list[int] = []
        """Ids of tokens whose text a reader has not shown yet."""

    @property
    def stopped(self) -> bool:
        """Whether a stop text was found."""
        return self._text.stopped

    @property
    def stop(self) -> str:
        """The stop text that was found, or nothing."""
        return self._text.stop

    @property
    def has_calls(self) -> bool:
        """Whether the output holds a tool call."""
        return self._reader is not None and self._reader.has_calls

    def push(self, token: int, piece: bytes) -> Output | None:
        """Take the next token; return what may be shown now."""
        shown = self._text.push(token, piece)
        if not shown.ids:
            return None
        if self._reader is None:
            if self._items is None:
                return Output(self._attempt, shown.text, shown.ids, self._index)
            return self._output(Reading(shown.text), shown.ids)
        return self._read(self._reader, shown)

    def finish(self) -> Output:
        """Return what was held back: the output has ended."""
        shown = self._text.finish()
        if self._reader is None:
            return self._output(Reading(shown.text), shown.ids)
        first = self._reader.push(shown.text) if shown.text else Reading()
        self._held += shown.ids
        return self._output(first + self._reader.finish(), self._release())

    def _read(self, reader: Reader, shown: Shown) -> Output | None:
        reading = reader.push(shown.text)
        self._held += shown.ids
        if reader.is_holding:
            return None if reading == Reading() else self._output(reading, ())
        return self._output(reading, self._release())

    def _release(self) -> tuple[int, ...]:
        ids, self._held = tuple(self._held), []
        return ids

    def _output(self, reading: Reading, ids: tuple[int, ...]) -> Output:
        return Output(
            self._attempt,
            reading.content,
            ids,
            self._index,
            reading.reasoning,
            reading.tool_calls,
            self._take_items(len(ids)),
        )

    def _take_items(self, count: int) -> list[Item] | None:
        """Return the log-probabilities of the next tokens to be shown."""
        if self._items is None or not count:
            return None
        return [self._items.popleft() for _ in range(count)]
