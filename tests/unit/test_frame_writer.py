"""The frame writer: numbering, coalescing, and what rides with what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from mesh.bus import Bus
from mesh.errors import BusUnavailable, Busy
from mesh.seats import Room
from schemas.frames import Accepted, Beat, Delta, Done, Failed, Frame, ToolCallDelta, decode_frame
from schemas.inference import Usage
from tests.support.wait import until
from workers.engine import Finish, Piece
from workers.frame_writer import FrameWriter

DONE = Finish("stop", Usage(prompt_tokens=1, completion_tokens=2))


class Recorder:
    """Takes the place of a connection's ``post``: keeps the frames, or fails like a lost line."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.lost = False

    def post(self, subject: str, payload: bytes, reply: str = "") -> None:
        if self.lost:
            raise BusUnavailable
        assert subject == "_INBOX_gateway.x"
        self.frames.append(decode_frame(payload))


@asynccontextmanager
async def writer_to(
    recorder: Recorder, *, window: float = 60.0, eager: bool = True
) -> AsyncIterator[FrameWriter]:
    """Write with a window so long that only other reasons make a frame go out."""
    writer = FrameWriter(
        cast("Bus", recorder),
        "_INBOX_gateway.x",
        asyncio.get_running_loop().time,
        window=window,
        eager=eager,
        on_broken=lambda: setattr(recorder, "broken", True),
    )
    yield writer
    writer.close()


def pieces(first: int, count: int) -> list[Piece]:
    return [Piece(f"{number} ", (number,)) for number in range(first, first + count)]


async def test_first_token_goes_at_once_and_the_rest_is_gathered() -> None:
    """A stream's first token is a frame of its own; the tail rides in Done."""
    recorder = Recorder()
    async with writer_to(recorder) as writer:
        writer.accepted("w", "d", Room(3, 2))
        for piece in pieces(0, 4):
            writer.emit(piece)
        writer.done(DONE, Room(4, 3))
    assert recorder.frames == [
        Accepted(seq=0, worker="w", digest="d", slots_free=3, slots_idle=2),
        Delta(seq=1, text="0 ", ids=(0,)),
        Done(
            seq=2,
            finish_reason="stop",
            usage=DONE.usage,
            slots_free=4,
            slots_idle=3,
            last=Delta(seq=2, text="1 2 3 ", ids=(1, 2, 3)),
        ),
    ]


async def test_whole_answers_are_gathered_from_the_start() -> None:
    """Where nobody watches, a short answer costs one message."""
    recorder = Recorder()
    async with writer_to(recorder, eager=False) as writer:
        for piece in pieces(0, 3):
            writer.emit(piece)
        assert recorder.frames == []
        writer.done(DONE, Room(4, 3))
    (done,) = recorder.frames
    assert isinstance(done, Done)
    assert done.last == Delta(seq=0, text="0 1 2 ", ids=(0, 1, 2))


async def test_window_ends_by_itself() -> None:
    """Gathered tokens go out when the window is over."""
    recorder = Recorder()
    async with writer_to(recorder, window=0.01) as writer:
        for piece in pieces(0, 3):
            writer.emit(piece)
        await until(lambda: len(recorder.frames) == 2)
    assert recorder.frames[1] == Delta(seq=1, text="1 2 ", ids=(1, 2))


async def test_no_window_means_a_frame_per_token() -> None:
    """With a window of 0 nothing is gathered."""
    recorder = Recorder()
    async with writer_to(recorder, window=0.0) as writer:
        for piece in pieces(0, 3):
            writer.emit(piece)
    assert [frame.seq for frame in recorder.frames] == [0, 1, 2]


async def test_choices_and_rich_pieces_keep_frames_of_their_own() -> None:
    """Only plain text of the same choice is joined."""
    recorder = Recorder()
    async with writer_to(recorder, eager=False) as writer:
        writer.emit(Piece("a", (1,)))
        writer.emit(Piece("b", (2,)))
        writer.emit(Piece("c", (3,), index=1))
        writer.emit(Piece(tool_calls=(ToolCallDelta(index=0, name="f"),)))
        writer.emit(Piece("d", (4,)))
        writer.failed(Busy("full"), Room(0, 0))
    texts = [(frame.text, frame.index) for frame in recorder.frames if isinstance(frame, Delta)]
    assert texts == [("ab", 0), ("c", 1), ("", 0), ("d", 0)]
    assert isinstance(recorder.frames[-1], Failed)
    assert [frame.seq for frame in recorder.frames] == [0, 1, 2, 3, 4]


async def test_beats_are_numbered_with_the_rest() -> None:
    """A beat is a frame like any other."""
    recorder = Recorder()
    async with writer_to(recorder) as writer:
        writer.accepted("w", "", Room(0, 0))
        writer.beat()
    assert recorder.frames[1] == Beat(seq=1)


async def test_lost_line_is_reported_to_the_attempt() -> None:
    """A frame that cannot be sent breaks the attempt."""
    recorder = Recorder()
    recorder.lost = True
    async with writer_to(recorder) as writer:
        writer.emit(Piece("a", (1,)))
    assert hasattr(recorder, "broken")


async def test_closed_writer_sends_nothing_more() -> None:
    """What was gathered for an abandoned attempt is dropped."""
    recorder = Recorder()
    async with writer_to(recorder, window=0.01, eager=False) as writer:
        writer.emit(Piece("a", (1,)))
        writer.close()
        writer.done(DONE, Room(1, 1))
    (done,) = recorder.frames
    assert isinstance(done, Done)
    assert done.last is None
