"""The parts in which a batch's answers are stored until its files are written.

A part is created once and never changed, under its number: of two gateways that both think that
they drive a batch one alone gets the next part in. With the answers it says how far the batch then
is, so both are stored or neither is. That is what makes each line come out exactly once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import msgspec

from gateway.batches.bills import Bill
from gateway.batches.progress import Ranges
from mesh.buckets import MEBIBYTE, Bucket, BucketSettings
from mesh.errors import StoreError
from mesh.inbox import Switchboard
from mesh.storage import Store
from schemas.wire import Message, decoder, encode

PARTS: Final = BucketSettings(
    name=Store.BATCH_PARTS, max_bytes=1024 * MEBIBYTE, ttl=7 * 24 * 3600.0
)
"""The bucket, to be made by whoever runs the broker. Parts go with their batch; what is left of one
that nobody could end goes by itself."""
FORGOTTEN_AT_ONCE: Final = 32


@dataclass(frozen=True, kw_only=True)
class LineResult:
    """What came of a line: the line that goes out, newline included.

    place: of the line's request among all of them, from 1. ok: whether it goes into the output,
    else among the errors. expired: it was not computed in time. jobs: whose records are not needed
    any more. bills: what they cost of what was set aside for them.
    """

    place: int
    text: bytes
    ok: bool = False
    expired: bool = False
    jobs: tuple[str, ...] = ()
    bills: tuple[Bill, ...] = ()


class Checkpoint(Message, frozen=True, kw_only=True):
    """How far a batch is with a part: places of what is answered, and how many of it in which way.

    output: bytes of the part that belong to the output; the rest are errors.
    """

    done: Ranges = ()
    completed: int = 0
    failed: int = 0
    expired: int = 0
    output: int = 0

    def after(self, results: Sequence[LineResult], done: Ranges) -> "Checkpoint":
        """Return how far a batch is with some more results."""
        good = [result for result in results if result.ok]
        return Checkpoint(
            done=done,
            completed=self.completed + len(good),
            failed=self.failed + len(results) - len(good),
            expired=self.expired + sum(result.expired for result in results),
            output=sum(len(result.text) for result in good),
        )


@dataclass(frozen=True)
class Part:
    """Some answers, and how far the batch is with them."""

    checkpoint: Checkpoint
    output: bytes
    errors: bytes


_checkpoints = decoder(Checkpoint)


def write_part(checkpoint: Checkpoint, results: Sequence[LineResult]) -> bytes:
    """Return a part as it is stored: a line of JSON, then the answers as they go out."""
    good = b"".join(result.text for result in results if result.ok)
    bad = b"".join(result.text for result in results if not result.ok)
    return b"\n".join((encode(checkpoint), good + bad))


def read_part(stored: bytes) -> Part:
    """Return a part; raises ``msgspec.MsgspecError`` for what is none."""
    head, _, answers = stored.partition(b"\n")
    checkpoint = _checkpoints.decode(head)
    return Part(checkpoint, answers[: checkpoint.output], answers[checkpoint.output :])


class Journal:
    """The parts of all batches; methods raise ``StoreError`` and ``BusError``."""

    def __init__(self, bus: Switchboard) -> None:
        self._bucket = Bucket(bus, PARTS)

    async def add(self, batch: str, number: int, part: bytes) -> None:
        """Store a part; raises ``Conflict`` if there is one with this number."""
        await self._bucket.create(_key(batch, number), part)

    async def find(self, batch: str, number: int) -> Part | None:
        """Return a part, if the server that is asked has it by now."""
        entry = await self._bucket.peek(_key(batch, number))
        try:
            return None if entry is None else read_part(entry.value)
        except msgspec.MsgspecError:
            raise StoreError(f"the part {number} of {batch} cannot be read") from None

    async def get(self, batch: str, number: int) -> Part:
        """Return a part that has to be there."""
        part = await self.find(batch, number)
        if part is None:
            raise StoreError(f"the part {number} of {batch} is not there (any more)")
        return part

    async def forget(self, batch: str, parts: int) -> None:
        """Remove the parts of a batch whose files are written."""
        turns = anyio.Semaphore(FORGOTTEN_AT_ONCE)

        async def purge(number: int) -> None:
            async with turns:
                await self._bucket.purge(_key(batch, number))

        async with anyio.create_task_group() as tasks:
            for number in range(1, parts + 1):
                tasks.start_soon(purge, number)


def _key(batch: str, number: int) -> str:
    return f"{batch}/{number}"
