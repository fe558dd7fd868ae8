"""The engine's end of the pipe."""

import os
import select

from workers.llama.messages import PipeMessage, ToEngine, Unframer, decode_to_engine, frame

READ_BYTES = 1 << 16


class Pipe:
    """Reads orders without waiting, unless told to; writes reports."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._unframer = Unframer(decode_to_engine)
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)

    def receive(self, patience: float | None) -> list[ToEngine]:
        """Return all messages that have arrived; raises ``EOFError`` once the agent is gone.

        ``patience``: seconds to wait for the first, ``None``: as long as it takes.
        """
        messages: list[ToEngine] = []
        timeout = None if patience is None else 1000 * patience
        while self._poll.poll(timeout):
            data = os.read(self._read_fd, READ_BYTES)
            if not data:
                raise EOFError
            messages += self._unframer.feed(data)
            timeout = 0
        return messages

    def is_open(self) -> bool:
        """Return whether the agent still holds its end."""
        return not any(event & select.POLLHUP for _, event in self._poll.poll(0))

    def send(self, message: PipeMessage) -> None:
        """Write a message; raises ``BrokenPipeError`` once the agent is gone."""
        view = memoryview(frame(message))
        while view:
            view = view[os.write(self._write_fd, view) :]
