"""The files of all tenants: contents in the broker's object store, a record for each in a bucket.

The record comes first and goes last. So nothing lies in the store that no record tells of, whoever
dies in between, and what was left half-way is found and cleared away (``gateway.files.sweep``).
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
import structlog
from msgspec.structs import replace

from gateway.files.kept import (
    FILES,
    FileNotFound,
    FileRecord,
    Stage,
    is_id,
    new_content,
    new_id,
)
from mesh.buckets import MEBIBYTE, Bucket, BucketSettings
from mesh.errors import BusError, Conflict, StoreError, StoreFull
from mesh.inbox import Switchboard
from mesh.objects import ObjectStore
from mesh.storage import FILE_CONTENTS, Store
from schemas.openai.files import Purpose
from schemas.wire import encode

log = structlog.get_logger("gateway.files")

RECORDS: Final = BucketSettings(name=Store.FILES, max_bytes=128 * MEBIBYTE)
CONTENTS: Final = BucketSettings(name=FILE_CONTENTS, max_bytes=2048 * MEBIBYTE)
"""The buckets, to be made by whoever runs the broker: gateways may not make any."""

FOR_UPLOADS, FOR_OUTPUTS = 0.75, 0.95
"""Shares of the contents' room up to which it is filled: what batches give must find room when the
door is closed to uploads, and a removal is a message, which must find room at the very end."""
MOST_PIECES: Final = 200_000
"""Messages in the store from which nothing new is taken: the records have to fit in theirs."""
LOOK_EVERY: Final = 4 * MEBIBYTE
"""Bytes of a file between two looks at the room that is left."""
NO_ROOM_FOR: Final = 60.0
"""Seconds after which there may be room again in a store that was full."""
CLEAR_WITHIN: Final = 5.0
"""Seconds for taking back what was written of a file that did not arrive."""


class Cabinet:
    """Keeps files; a tenant never sees another's. Methods raise ``StoreError``, ``BusError``."""

    def __init__(self, bus: Switchboard) -> None:
        self.contents = ObjectStore(bus, CONTENTS)
        self._records = Bucket(bus, RECORDS)

    async def find(self, tenant: str, file_id: str) -> FileRecord:
        """Return a file; raises ``FileNotFound``."""
        entry = await self._records.within(tenant).get(file_id) if is_id(file_id) else None
        record = FILES.read(entry) if entry else None
        if record is None or not record.is_there(time.time()):
            raise FileNotFound(file_id)
        return record

    async def of_tenant(self, tenant: str) -> list[FileRecord]:
        """Return a tenant's files in the order in which they were complete."""
        entries = (await self._records.within(tenant).entries()).values()
        ordered = sorted(entries, key=lambda entry: entry.revision)
        now = time.time()
        return [record for record in FILES.readable(ordered) if record.is_there(now)]

    async def everything(self) -> list[FileRecord]:
        """Return the records of all tenants, also those that no client sees."""
        return list(FILES.readable((await self._records.entries()).values()))

    def read(self, record: FileRecord) -> AsyncIterator[bytes]:
        """Yield the content of a file piece by piece."""
        return self.contents.read(record.place, record.bytes)

    @asynccontextmanager
    async def arriving(self, record: FileRecord, share: float) -> AsyncIterator["Arriving"]:
        """Write a file inside the context; what is not finished then is taken back.

        ``share``: of the room, up to which it may be filled. Raises ``StoreFull``.
        """
        await self.check_room(share)
        bucket = self._records.within(record.tenant)
        revision = await bucket.create(record.id, encode(record))
        file = Arriving(self, bucket, record, revision, share)
        try:
            yield file
        finally:
            if file.record.stage is Stage.ARRIVING:
                with anyio.CancelScope(shield=True), anyio.move_on_after(CLEAR_WITHIN):
                    await self._take_back(record, revision)

    async def remove(self, record: FileRecord) -> None:
        """Remove a file: from now on nobody sees it."""
        going = encode(replace(record, stage=Stage.GOING))
        revision = await self._records.within(record.tenant).put(record.id, going)
        await self._clear_away(record, revision)

    async def clear(self, tenant: str, file_id: str) -> None:
        """Remove a file that may be there, whole or not."""
        entry = await self._records.within(tenant).get(file_id)
        if entry is not None:
            await self.remove(FILES.read(entry))

    async def check_room(self, share: float, size: int = 0) -> None:
        """Raise ``StoreFull`` if ``size`` more bytes would fill more than a share of the room."""
        room = await self.contents.room()
        too_much = 0 < room.most * share < room.bytes + size
        if too_much or (share == FOR_UPLOADS and room.messages > MOST_PIECES):
            raise StoreFull(
                "there is no room for more files: delete some, or let the mesh keep more "
                "(--files-mb)",
                retry_after=NO_ROOM_FOR,
            )

    async def _take_back(self, record: FileRecord, revision: int) -> None:
        """Remove a file that did not arrive."""
        try:
            going = encode(replace(record, stage=Stage.GOING))
            bucket = self._records.within(record.tenant)
            await self._clear_away(record, await bucket.update(record.id, going, revision))
        except Conflict:
            await self._let_be(record)
        except (StoreError, BusError) as error:
            log.warning("file.left_behind", file=record.id, reason=error.code.value)

    async def _let_be(self, record: FileRecord) -> None:
        """Leave a record alone that is not as it was written when its file began to arrive.

        Either it was finished, and the broker's word of that was lost; then it keeps its content.
        Or it is that of another file, and what was written of this one is nobody's.
        """
        try:
            entry = await self._records.within(record.tenant).get(record.id)
            if entry is None or FILES.read(entry).content != record.content:
                await self.contents.remove(record.place)
        except (StoreError, BusError) as error:
            log.warning("file.left_behind", file=record.id, reason=error.code.value)

    async def _clear_away(self, record: FileRecord, revision: int) -> None:
        """Remove a content, and then the record if it is still the one that was written last."""
        await self.contents.remove(record.place)
        with suppress(Conflict):
            await self._records.within(record.tenant).purge(record.id, revision)


class Arriving:
    """A file whose content is being written."""

    def __init__(
        self, cabinet: Cabinet, bucket: Bucket, record: FileRecord, revision: int, share: float
    ) -> None:
        self.record = record
        self._cabinet, self._bucket, self._revision = cabinet, bucket, revision
        self._writer = cabinet.contents.writer(record.place)
        self._share, self._look_at = share, LOOK_EVERY

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    async def write(self, data: bytes) -> None:
        """Add to the content; raises ``StoreFull``."""
        if self._writer.size >= self._look_at:
            await self._cabinet.check_room(self._share)
            self._look_at = self._writer.size + LOOK_EVERY
        await self._writer.write(data)

    async def finish(self, record: FileRecord) -> FileRecord:
        """Show the file to its tenant, as ``record`` tells of it; raises ``Conflict`` if it went.

        Whoever was away for too long finds that its file was cleared away meanwhile.
        """
        info = await self._writer.finish()
        whole = replace(record, stage=Stage.READY, bytes=info.size)
        await self._bucket.update(record.id, encode(whole), self._revision)
        self.record = whole
        return whole


def new_record(tenant: str, purpose: Purpose, *, file_id: str = "") -> FileRecord:
    """Return the record of a file that is about to arrive."""
    return FileRecord(
        id=file_id or new_id(),
        tenant=tenant,
        content=new_content(),
        created_at=int(time.time()),
        purpose=purpose,
    )
