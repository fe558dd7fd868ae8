"""One engine process: its pipe, its log, and the attempts that run in it."""

import itertools
import math
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import msgspec
import structlog
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from mesh.clock import monotonic
from mesh.errors import EngineCrashed, InvalidRequest, MeshError, from_code
from mesh.prefix import prefixes
from schemas.inference import Dispatch, Task
from workers.engine import Emit, Finish, Piece
from workers.llama.messages import (
    Cancel,
    FrameTooLarge,
    FromEngine,
    Loading,
    Open,
    Opened,
    Output,
    PipeMessage,
    Refused,
    Step,
    Submit,
    Unframer,
    decode_from_engine,
    frame,
)
from workers.llama.settings import LlamaSettings
from workers.llama.warmth import Warmth

READ_BYTES = 1 << 16
KEPT_LINES = 8
NO_BACKTRACE = {"GGML_NO_BACKTRACE": "1"}
"""An abort of llama.cpp is to be known at once: a debugger takes seconds to say where it was."""

log = structlog.get_logger(__name__)


class _Attempt:
    """A caller waiting for its output."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.ended = anyio.Event()
        self.outcome: Finish | MeshError = EngineCrashed()

    def end(self, outcome: Finish | MeshError) -> None:
        self.outcome = outcome
        self.ended.set()


class EngineProcess:
    """The agent's end of the pipe; made by ``running_engine``."""

    def __init__(
        self, process: Process, settings: LlamaSettings, changed: Callable[[], None]
    ) -> None:
        """Call ``changed`` when what is to be advertised has changed."""
        self._process = process
        self._changed = changed
        # anyio leaves open whether a process has pipes; this one was started with all three.
        self._stdin = cast("ByteSendStream", process.stdin)
        self._stdout = cast("ByteReceiveStream", process.stdout)
        self._stderr = cast("ByteReceiveStream", process.stderr)
        self._settings = settings
        self._attempts: dict[int, _Attempt] = {}
        self._numbers = itertools.count()
        self._outgoing, self._to_write = anyio.create_memory_object_stream[bytes](math.inf)
        self._refusal: Refused | None = None
        self._answered = anyio.Event()
        self._gone = anyio.Event()
        self._log_ended = anyio.Event()
        self._heard = monotonic()
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.opened: Opened | None = None
        """What the process said when the model was loaded."""
        self.last_step: Step | None = None
        """The figures of the moment."""
        self.progress = 0.0
        """How much of the model is loaded, 0 to 1."""
        self.warmth = Warmth()
        """Which conversations its KV cache holds."""

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether the process still holds its end of the pipe."""
        return not self._gone.is_set()

    async def open(self) -> Opened | Refused:
        """Have the model loaded; an engine that dies over it counts as a refusal."""
        self._post(Open.of(self._settings))
        await self._answered.wait()
        return self.opened or self._refusal or Refused(await self.died())

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Compute one attempt; see ``Engine.generate``."""
        number = next(self._numbers)
        try:
            self._post(_submit_message(number, work))
        except (OverflowError, ValueError) as error:
            msg = "the request holds a number or text that cannot be passed on"
            raise InvalidRequest(msg) from error
        if not self._attempts:
            self._heard = monotonic()
        attempt = self._attempts[number] = _Attempt(emit)
        try:
            await attempt.ended.wait()
        finally:
            if self._attempts.pop(number, None):
                self._post(Cancel(number))
        if isinstance(attempt.outcome, MeshError):
            raise attempt.outcome
        if work.request.task is Task.GENERATE:
            self.warmth.note(number, [link.fingerprint for link in prefixes(work.request)])
        return attempt.outcome

    async def died(self) -> str:
        """Wait until the process is gone; return how it ended."""
        await self._gone.wait()
        with anyio.move_on_after(self._settings.stop_time):
            await self._process.wait()
            await self._log_ended.wait()
        how = _exit_text(self._process.returncode)
        log.error("engine.died", pid=self.pid, how=how, last_lines=list(self._last_lines))
        return f"the engine process {how}"

    async def read(self) -> None:
        """Take the engine's messages until its end of the pipe closes."""
        unframer = Unframer(decode_from_engine)
        try:
            while True:
                for message in unframer.feed(await self._stdout.receive(READ_BYTES)):
                    self._take(message)
        except (anyio.EndOfStream, FrameTooLarge, msgspec.MsgspecError):
            self._lose_everything()

    async def write(self) -> None:
        """Write what is posted, in order."""
        try:
            async for data in self._to_write:
                await self._stdin.send(data)
        except anyio.BrokenResourceError:
            log.debug("engine.pipe_closed", pid=self.pid)

    async def relay_log(self) -> None:
        """Pass the engine's stderr on, line by line."""
        rest = b""
        async for data in self._stderr:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                self._last_lines.append(text)
                log.debug("engine.log", pid=self.pid, line=text)
        self._log_ended.set()

    async def watch(self) -> None:
        """Kill an engine that has work but gives no sign of life."""
        limit = self._settings.stall_time
        while True:
            await anyio.sleep(limit / 4)
            if self._attempts and monotonic() - self._heard > limit:
                log.error("engine.stalled", pid=self.pid, seconds=limit)
                self._process.kill()
                return

    def _post(self, message: PipeMessage) -> None:
        self._outgoing.send_nowait(frame(message))

    def _take(self, message: FromEngine) -> None:
        self._heard = monotonic()
        match message:
            case Step():
                self.last_step = message
                for output in message.outputs:
                    self._deliver(output)
                if message.evicted:
                    self.warmth.evict(message.evicted)
                    self._changed()
            case Loading():
                self.progress = message.fraction
                self._changed()
            case Opened():
                self.opened = message
                self._answered.set()
            case Refused():
                self._refusal = message
                self._answered.set()

    def _deliver(self, output: Output) -> None:
        """Hand output to its caller; one that has left is not there any more."""
        attempt = self._attempts.get(output.attempt)
        if attempt is None:
            return
        if (piece := _piece(output)) is not None:
            attempt.emit(piece)
        if output.failure is not None:
            self._end(output, from_code(output.failure, output.message, param=output.param))
        elif output.reason is not None and output.usage is not None:
            self._end(output, Finish(output.reason, output.usage, output.stop))

    def _end(self, output: Output, outcome: Finish | MeshError) -> None:
        self._attempts.pop(output.attempt).end(outcome)

    def _lose_everything(self) -> None:
        """Tell every caller at once: another worker can take over."""
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts.values():
            attempt.end(EngineCrashed())
        self._gone.set()
        self._answered.set()

    async def stop(self) -> None:
        """Close the pipe, which ends the process; kill it if it does not end in time."""
        self._lose_everything()
        self._outgoing.close()
        self._to_write.close()
        with anyio.move_on_after(self._settings.stop_time):
            await self._process.aclose()


@asynccontextmanager
async def running_engine(
    settings: LlamaSettings, changed: Callable[[], None]
) -> AsyncIterator[EngineProcess]:
    """Start an engine process; it is gone when the context is left."""
    process = await anyio.open_process(
        [sys.executable, "-P", "-m", "workers.llama.main"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | NO_BACKTRACE,
    )
    engine = EngineProcess(process, settings, changed)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.read)
            tasks.start_soon(engine.write)
            tasks.start_soon(engine.relay_log)
            tasks.start_soon(engine.watch)
            yield engine
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await engine.stop()


def _submit_message(number: int, work: Dispatch) -> Submit:
    return Submit(
        attempt=number,
        remaining_ms=work.remaining_ms,
        request=work.request,
        emitted=work.emitted,
    )


def _piece(output: Output) -> Piece | None:
    """Return what there is to show, if anything."""
    piece = Piece(
        text=output.text,
        ids=output.ids,
        index=output.index,
        reasoning=output.reasoning,
        tool_calls=output.tool_calls,
        logprobs=output.logprobs,
        finish_reason=output.finish_reason,
        vectors=output.vectors,
        scores=output.scores,
        prompt_logprobs=output.prompt_logprobs,
    )
    return None if piece == Piece(index=output.index) else piece


def _exit_text(returncode: int | None) -> str:
    if returncode is None:
        return "closed its pipe"
    if returncode < 0:
        return f"was ended by signal {-returncode}"
    return f"ended with status {returncode}"
