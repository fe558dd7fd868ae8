"""Items while they grow: each tells its beginning, its pieces and its end as events. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from gateway.responses.ids import output_id
from schemas.frames import Delta, ToolCallDelta
from schemas.openai.response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    TextDelta,
    TextDone,
)
from schemas.openai.response_items import (
    FunctionCallItem,
    Item,
    ItemStatus,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
)

Number = Callable[[], int]
"""Returns the sequence number of the next event."""


class Growing(ABC):
    """An item that is not whole yet; ``index`` is its place in the output."""

    prefix: str

    def __init__(self, token: str, index: int, number: Number) -> None:
        self.id = output_id(self.prefix, token, index)
        self.index = index
        self._number = number
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """Everything so far."""
        return "".join(self._pieces)

    @abstractmethod
    def item(self, status: ItemStatus) -> Item:
        """Return the item as it is."""

    def begin(self) -> Iterator[Event]:
        """Tell that the item is there, empty."""
        yield ItemAdded(sequence_number=self._number(), output_index=self.index, item=self._blank())

    def end(self, status: ItemStatus) -> Iterator[Event]:
        """Tell that nothing will be added."""
        yield ItemDone(
            sequence_number=self._number(), output_index=self.index, item=self.item(status)
        )

    @abstractmethod
    def _blank(self) -> Item:
        """Return the item as clients want to see it first: its parts come one by one."""

    def _place(self) -> dict[str, Any]:
        return {
            "sequence_number": self._number(),
            "item_id": self.id,
            "output_index": self.index,
        }


class GrowingMessage(Growing):
    """What the model says."""

    prefix = "msg"

    def __init__(self, token: str, index: int, number: Number) -> None:
        super().__init__(token, index, number)
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> Iterator[Event]:
        """Tell the item and its only part."""
        yield from super().begin()
        yield PartAdded(**self._place(), part=OutputText(text=""))

    def add(self, frame: Delta) -> Event:
        """Take in a piece of text."""
        logprobs = frame.logprobs or []
        self._pieces.append(frame.text)
        self._logprobs += logprobs
        return TextDelta(
            sequence_number=self._number(),
            item_id=self.id,
            output_index=self.index,
            delta=frame.text,
            logprobs=logprobs,
        )

    def end(self, status: ItemStatus) -> Iterator[Event]:
        """Tell the whole text, the part and the item."""
        yield TextDone(**self._place(), text=self.text, logprobs=self._logprobs)
        yield PartDone(**self._place(), part=self._part())
        yield from super().end(status)

    def item(self, status: ItemStatus) -> Item:
        """Return the message so far."""
        return MessageItem(id=self.id, status=status, role="assistant", content=(self._part(),))

    def _part(self) -> OutputText:
        return OutputText(text=self.text, logprobs=self._logprobs)

    def _blank(self) -> Item:
        return MessageItem(id=self.id, status="in_progress", role="assistant", content=())


class GrowingReasoning(Growing):
    """What the model thinks."""

    prefix = "rs"

    def begin(self) -> Iterator[Event]:
        """Tell the item and its only part."""
        yield from super().begin()
        yield PartAdded(**self._place(), part=ReasoningText(text=""))

    def add(self, text: str) -> Event:
        """Take in a piece of thought."""
        self._pieces.append(text)
        return ReasoningDelta(**self._place(), delta=text)

    def end(self, status: ItemStatus) -> Iterator[Event]:
        """Tell the whole thought, the part and the item."""
        yield ReasoningDone(**self._place(), text=self.text)
        yield PartDone(**self._place(), part=ReasoningText(text=self.text))
        yield from super().end(status)

    def item(self, status: ItemStatus) -> Item:
        """Return the thought so far."""
        return ReasoningItem(id=self.id, status=status, content=(ReasoningText(text=self.text),))

    def _blank(self) -> Item:
        return ReasoningItem(id=self.id, status="in_progress")


class GrowingCall(Growing):
    """A function call; ``place`` is its index among the calls of the answer."""

    prefix = "fc"

    def __init__(self, token: str, index: int, number: Number, piece: ToolCallDelta) -> None:
        super().__init__(token, index, number)
        self.place = piece.index
        self._name = piece.name or ""
        self._call_id = piece.id or f"call_{token}_{piece.index}"

    def add(self, arguments: str) -> Event:
        """Take in a piece of the arguments."""
        self._pieces.append(arguments)
        return ArgumentsDelta(**self._place(), delta=arguments)

    def end(self, status: ItemStatus) -> Iterator[Event]:
        """Tell all of the arguments, and the item."""
        yield ArgumentsDone(**self._place(), name=self._name, arguments=self.text)
        yield from super().end(status)

    def item(self, status: ItemStatus) -> Item:
        """Return the call so far."""
        return self._item(self.text, status)

    def _blank(self) -> Item:
        return self._item("", "in_progress")

    def _item(self, arguments: str, status: ItemStatus) -> Item:
        return FunctionCallItem(
            id=self.id, call_id=self._call_id, name=self._name, arguments=arguments, status=status
        )
