"""Tool calls, gathered from the pieces in which they come."""

from collections.abc import Callable, Iterator

from schemas.frames import ToolCallDelta


class GatheredCall:
    """One call, as far as it has come."""

    __slots__ = ("_pieces", "id", "name")

    def __init__(self, call_id: str, name: str) -> None:
        self.id, self.name = call_id, name
        self._pieces: list[str] = []

    def add(self, piece: ToolCallDelta) -> None:
        """Take in a piece."""
        self._pieces.append(piece.arguments)

    @property
    def arguments(self) -> str:
        """The JSON text of what the function is called with."""
        return "".join(self._pieces)


class CallGatherer:
    """Collects the calls of one choice; true if there are any, iterates in the order of calls."""

    __slots__ = ("_calls", "_name_call")

    def __init__(self, name_call: Callable[[int], str]) -> None:
        """``name_call`` returns the id of a call, by its index, to which the engine gave none."""
        self._name_call = name_call
        self._calls: dict[int, GatheredCall] = {}

    def add(self, piece: ToolCallDelta) -> None:
        """Take in a piece: the first one of a call names it."""
        call = self._calls.get(piece.index)
        if call is None:
            call_id = piece.id or self._name_call(piece.index)
            call = self._calls[piece.index] = GatheredCall(call_id, piece.name or "")
        call.add(piece)

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __iter__(self) -> Iterator[GatheredCall]:
        return (call for _, call in sorted(self._calls.items()))
