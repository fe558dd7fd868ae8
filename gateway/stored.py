"""Records as they come out of a bucket, where another version of the gateway may have put them."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import structlog

from mesh.buckets import Entry
from mesh.errors import StoreError
from schemas.wire import UNREADABLE, Message, decoder

log = structlog.get_logger("gateway.stored")

M = TypeVar("M", bound=Message)


class Records(Generic[M]):
    """Reads the records of one kind."""

    def __init__(self, kind: type[M]) -> None:
        self._kind, self._decode = kind, decoder(kind).decode

    def read(self, entry: Entry) -> M:
        """Return a record; raises ``StoreError`` for one that this version cannot read."""
        try:
            return self._decode(entry.value)
        except UNREADABLE:
            # Not chained: what the decoder complains about may quote the record.
            msg = f"the {self._kind.__name__} {entry.key!r} cannot be read"
            raise StoreError(msg) from None

    def readable(self, entries: Iterable[Entry]) -> Iterator[M]:
        """Yield the records that can be read: one that cannot hides none of the others."""
        for entry in entries:
            try:
                yield self.read(entry)
            except StoreError as error:
                log.error("record.unreadable", reason=error.message)
