"""From the frames of one answer to a response and the events that tell of it. Pure.

Every event gets its number here, in the order in which it happens; whoever wants the response whole
drops the events and reads ``response``.
"""

import itertools
from collections.abc import Iterator
from typing import TypeVar

from msgspec.structs import replace

from gateway.problems import Problem
from gateway.responses.closing import closing
from gateway.responses.pieces import Growing, GrowingCall, GrowingMessage, GrowingReasoning
from mesh.errors import UpstreamMalformed
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Usage
from schemas.openai.response_events import Created, Event, InProgress
from schemas.openai.response_items import Item, ItemStatus
from schemas.openai.response_object import (
    IncompleteDetails,
    InputDetails,
    OutputDetails,
    Response,
    ResponseError,
    ResponseUsage,
)

G = TypeVar("G", bound=Growing)


class Composer:
    """Puts one response together."""

    def __init__(self, draft: Response, token: str) -> None:
        """``token``: what the ids of the response's items are made of."""
        self.response = draft
        """What is known of the response; its output is filled in at the end."""
        self._token = token
        self._number = itertools.count().__next__
        self._items: list[Item] = []
        self._growing: Growing | None = None
        self._calls: set[int] = set()
        self._reasoning_tokens = 0
        self._problem: Problem | None = None

    def opening(self) -> Iterator[Event]:
        """Return what comes before any output."""
        yield Created(sequence_number=self._number(), response=self.response)
        yield InProgress(sequence_number=self._number(), response=self.response)

    def add(self, frame: Delta) -> list[Event]:
        """Take in new output; raises ``UpstreamMalformed`` for a piece of a call that has ended."""
        events: list[Event] = []
        if frame.reasoning:
            thought = self._of(GrowingReasoning, events)
            events.append(thought.add(frame.reasoning))
            self._reasoning_tokens += 0 if frame.text else len(frame.ids)
        if frame.text or frame.logprobs:
            events.append(self._of(GrowingMessage, events).add(frame))
        for piece in frame.tool_calls:
            call = self._call(piece, events)
            if piece.arguments:
                events.append(call.add(piece.arguments))
        return events

    def finish(self, done: Done, now: int) -> list[Event]:
        """End the items, and the response; ``now``: Unix seconds."""
        events: list[Event] = []
        if not self._items and self._growing is None:
            self._of(GrowingMessage, events)  # a model may say nothing, but it has had its turn
        reason = _shortened(done)
        self._end_item("incomplete" if reason else "completed", events)
        self.response = replace(
            self.response,
            status="incomplete" if reason else "completed",
            completed_at=None if reason else now,
            incomplete_details=reason,
            output=tuple(self._items),
            usage=to_usage(done.usage, self._reasoning_tokens),
        )
        return events

    def fail(self, problem: Problem) -> None:
        """End the response with what went wrong; what came before it stays as it is."""
        self._break_off()
        self._problem = problem
        self.response = failed(self.response, problem)

    def closing(self) -> list[Event]:
        """Return what ends the stream: by ``response``, as it may have been ended elsewhere."""
        return closing(self.response, self._number, self._problem)

    def _of(self, kind: type[G], events: list[Event]) -> G:
        """Return the growing item if it is of a kind, else end it and begin one that is."""
        if isinstance(self._growing, kind):
            return self._growing
        self._end_item("completed", events)
        return self._begin_item(kind(self._token, len(self._items), self._number), events)

    def _call(self, piece: ToolCallDelta, events: list[Event]) -> GrowingCall:
        growing = self._growing
        if isinstance(growing, GrowingCall) and growing.place == piece.index:
            return growing
        if piece.index in self._calls:
            raise UpstreamMalformed("the pieces of several function calls came mixed")
        self._calls.add(piece.index)
        self._end_item("completed", events)
        call = GrowingCall(self._token, len(self._items), self._number, piece)
        return self._begin_item(call, events)

    def _begin_item(self, item: G, events: list[Event]) -> G:
        self._growing = item
        events.extend(item.begin())
        return item

    def _end_item(self, status: ItemStatus, events: list[Event]) -> None:
        if self._growing is not None:
            events.extend(self._growing.end(status))
            self._items.append(self._growing.item(status))
            self._growing = None

    def _break_off(self) -> None:
        if self._growing is not None:
            self._items.append(self._growing.item("incomplete"))
            self._growing = None
        self.response = replace(self.response, output=tuple(self._items))


def _shortened(done: Done) -> IncompleteDetails | None:
    match done.finish_reason:
        case "length":
            return IncompleteDetails(reason="max_output_tokens")
        case "content_filter":
            return IncompleteDetails(reason="content_filter")
        case _:
            return None


def to_usage(usage: Usage, reasoning_tokens: int) -> ResponseUsage:
    """Return what a response took; the total is the sum."""
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(
            reasoning_tokens=min(reasoning_tokens, usage.completion_tokens)
        ),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def failed(response: Response, problem: Problem) -> Response:
    """Return a response as it is after a failure; only a background one is stored all the same."""
    return replace(
        response,
        status="failed",
        error=ResponseError(code=_error_code(problem), message=problem.message),
        store=response.store and response.background,
    )


def _error_code(problem: Problem) -> str:
    """Return the nearest of the few codes that a response object knows."""
    if problem.status == 429:
        return "rate_limit_exceeded"
    return "server_error" if problem.status >= 500 else "invalid_prompt"
