"""Work that was pulled and is not settled: kept from other runners, and left to them at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import anyio
import structlog

from mesh.errors import MeshError
from mesh.jobs.streams import Work, WorkStream

log = structlog.get_logger("mesh.jobs")

KEEPS_PER_LEASE = 3


class Carried(Protocol):
    """What is done about a piece of work."""

    @property
    def work(self) -> Work:
        """The message in the work stream."""
        ...


T = TypeVar("T", bound=Carried)


class UnderWay(Generic[T]):
    """What one runner has under way; iterates over it."""

    def __init__(self, stream: WorkStream, lease: float, what: str) -> None:
        """``lease``: seconds without a sign of life after which work goes to another runner.

        what: begins log events.
        """
        self._stream, self._lease, self._what = stream, lease, what
        self._carried: set[T] = set()
        self._left: list[Work] = []
        self._settled = anyio.Event()

    def __len__(self) -> int:
        return len(self._carried)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._carried))

    def add(self, each: T) -> None:
        """Count what is about to be carried."""
        self._carried.add(each)

    @contextmanager
    def carrying(self, each: T) -> Iterator[None]:
        """Go on after failures: the broker delivers the work again when its lease is over."""
        job = each.work.pointer.id
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self._left.append(each.work)
            raise
        except MeshError as error:
            log.warning(f"{self._what}.left", job=job, code=str(error.code))
        except Exception:
            log.exception(f"{self._what}.crashed", job=job)
        finally:
            self._carried.discard(each)
            self._settled.set()

    async def keep(self) -> None:
        """Tell the broker of everything that is under way, until cancelled."""
        while True:
            await anyio.sleep(self._lease / KEEPS_PER_LEASE)
            try:
                for each in self._carried:
                    self._stream.keep(each.work)
            except MeshError as error:
                log.info(f"{self._what}s.leases_unkept", code=str(error.code))

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._carried:
            self._settled = anyio.Event()
            await self._settled.wait()

    def hand_over(self) -> None:
        """Let others have at once what was cancelled."""
        try:
            for work in self._left:
                self._stream.give_back(work)
        except MeshError as error:
            log.info(f"{self._what}s.not_handed_over", code=str(error.code))
