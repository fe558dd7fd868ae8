"""Tool calls, gathered from their pieces."""

from gateway.calls import CallGatherer
from schemas.frames import ToolCallDelta


def test_pieces_become_calls_in_their_order() -> None:
    """Each call has the id and name of its first piece, and the arguments of all."""
    calls = CallGatherer(lambda index: f"call_{index}")
    assert not calls
    calls.add(ToolCallDelta(index=1, name="b", arguments='{"y"'))
    calls.add(ToolCallDelta(index=0, id="own", name="a", arguments="{}"))
    calls.add(ToolCallDelta(index=1, arguments=":1}"))
    assert calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [
        ("own", "a", "{}"),
        ("call_1", "b", '{"y":1}'),
    ]
