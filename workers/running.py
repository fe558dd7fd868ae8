"""An attempt that a worker computes: it holds a slot until it is over."""

import asyncio

from mesh.trace import TraceContext
from schemas.inference import Dispatch
from workers.engine import Engine
from workers.frame_writer import FrameWriter


class Running:
    """An attempt that holds a slot."""

    __slots__ = ("engine", "router", "task", "timer", "work", "writer")

    def __init__(self, work: Dispatch, engine: Engine) -> None:
        self.work, self.engine, self.router = work, engine, work.router
        self.writer: FrameWriter | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the attempt belongs to, empty if its router names none."""
        trace = TraceContext.parse(self.work.traceparent)
        return "" if trace is None else trace.trace_id

    def stop(self) -> None:
        """Stop computing; the slot is freed once the engine has let go."""
        if self.task is not None:
            self.task.cancel()

    def abandon(self) -> None:
        """Stop computing for a reader that is gone."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        self.stop()
