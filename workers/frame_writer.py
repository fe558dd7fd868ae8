"""Writes one attempt's frames: numbered, and coalesced so that fast tokens share a message.

A message costs both sides about as much as computing a token of a small model, so tokens are
gathered for a short window. The first token of a stream goes out at once.
"""

import asyncio
from collections.abc import Callable
from itertools import groupby

from mesh.bus import Bus
from mesh.clock import Clock
from mesh.errors import BusUnavailable, MeshError, PayloadTooLarge
from mesh.seats import UNCOUNTED, Room
from schemas.frames import Accepted, Beat, Delta, Done, Failed, Frame, encode_frame
from workers.engine import Finish, Piece

WHOLE_WINDOW = 0.5
"""Seconds for which tokens are gathered where nobody watches them arrive."""


class FrameWriter:
    """Sends the frames of one attempt to its inbox.

    ``on_broken`` is called once if a frame could not be sent: the attempt is lost then, because
    its reader will find the gap, and computing on would be for nobody.
    """

    def __init__(
        self,
        bus: Bus,
        reply: str,
        clock: Clock,
        *,
        window: float,
        eager: bool,
        on_broken: Callable[[], None],
    ) -> None:
        self._bus, self._reply, self._clock = bus, reply, clock
        self._window = window
        self._on_broken = on_broken
        self._seq = 0
        self._pending: list[Piece] = []
        self._timer: asyncio.TimerHandle | None = None
        self.sent_at = clock()
        # A stream's first token is overdue from the start; a whole answer's is not.
        self._flushed_at = self.sent_at - (window if eager else 0.0)

    def accepted(self, worker: str, digest: str, room: Room) -> None:
        """Send the answer to the dispatch."""
        self._send(
            Accepted(
                seq=self._seq,
                worker=worker,
                digest=digest,
                slots_free=room.free,
                slots_idle=room.idle,
            )
        )

    def emit(self, piece: Piece) -> None:
        """Take new output; it is sent within the window."""
        self._pending.append(piece)
        if self._timer is not None:
            return
        due = self._flushed_at + self._window - self._clock()
        if due <= 0:
            self._flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(due, self._flush)

    def beat(self) -> None:
        """Send a sign of life."""
        self._send(Beat(seq=self._seq))

    def done(self, finish: Finish, room: Room) -> None:
        """Send the end, together with what is pending."""
        pieces = self._take_pending()
        last = pieces.pop() if pieces else None
        for piece in pieces:
            self._send(self._delta(piece))
        self._send(
            Done(
                seq=self._seq,
                finish_reason=finish.reason,
                usage=finish.usage,
                slots_free=room.free,
                slots_idle=room.idle,
                last=None if last is None else self._delta(last),
                stop=finish.stop,
            )
        )

    def failed(self, error: MeshError, room: Room = UNCOUNTED) -> None:
        """Send what is pending, and the error."""
        self._flush()
        retry_after = error.retry_after
        self._send(
            Failed(
                seq=self._seq,
                code=error.code,
                message=error.message,
                param=error.param,
                retry_after_ms=None if retry_after is None else int(retry_after * 1000),
                slots_free=room.free,
                slots_idle=room.idle,
            )
        )

    def close(self) -> None:
        """Send nothing more."""
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        for piece in self._take_pending():
            self._send(self._delta(piece))
        self._flushed_at = self._clock()

    def _take_pending(self) -> list[Piece]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pieces, self._pending = self._pending, []
        return _merged(pieces)

    def _delta(self, piece: Piece) -> Delta:
        return Delta(
            seq=self._seq,
            text=piece.text,
            ids=piece.ids,
            index=piece.index,
            reasoning=piece.reasoning,
            tool_calls=piece.tool_calls,
            logprobs=piece.logprobs,
            prompt_logprobs=piece.prompt_logprobs,
            finish_reason=piece.finish_reason,
            vectors=piece.vectors,
            scores=piece.scores,
        )

    def _send(self, frame: Frame) -> None:
        self._seq += 1
        self.sent_at = self._clock()
        try:
            self._bus.post(self._reply, encode_frame(frame))
        except (BusUnavailable, PayloadTooLarge):
            self._on_broken()


def _is_plain(piece: Piece) -> bool:
    return (
        piece.logprobs is None
        and piece.prompt_logprobs is None
        and not piece.tool_calls
        and not piece.reasoning
        and piece.finish_reason is None
        and not piece.vectors
        and not piece.scores
    )


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Join runs of plain text of the same choice; anything richer keeps a frame of its own."""
    if len(pieces) <= 1:
        return pieces
    if all(map(_is_plain, pieces)) and len({piece.index for piece in pieces}) == 1:
        return [_joined(pieces)]
    merged: list[Piece] = []
    for (is_plain, _), run in groupby(pieces, key=lambda piece: (_is_plain(piece), piece.index)):
        alike = list(run)
        merged += [_joined(alike)] if is_plain else alike
    return merged


def _joined(run: list[Piece]) -> Piece:
    return Piece(
        text="".join([piece.text for piece in run]),
        ids=tuple([token for piece in run for token in piece.ids]),
        index=run[0].index,
    )
