"""The buckets that a broker of our own has from the start; only the admin may make any."""

from collections.abc import Iterator
from dataclasses import replace

import structlog

from cli.options import FILES_MB
from gateway.batches import book, parts
from gateway.chats.store import ROW_BUCKET
from gateway.files import cabinet
from gateway.responses.store import RESPONSES
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import MEBIBYTE, Bucket, BucketSettings
from mesh.bus import BusSettings, connect
from mesh.errors import StoreError
from mesh.inbox import Switchboard
from mesh.objects import ObjectStore

log = structlog.get_logger("mesh.broker")

BUCKETS = (RESPONSES, ROW_BUCKET, cabinet.RECORDS, book.RECORDS, book.WORK, parts.PARTS)


async def make_buckets(broker: Broker, files_mb: int = FILES_MB) -> None:
    """Make room for what gateways share, before any of them asks for it.

    A broker without that room serves all the same: its gateways remember for themselves, and refuse
    files and batches. ``files_mb``: what the contents of files may take.
    """
    role = Role.ADMIN
    settings = BusSettings(url=broker.url, creds=broker.creds(role), role=role, name="mesh-broker")
    async with connect(settings) as bus:
        for store, name in stores(bus, files_mb):
            try:
                await store.ensure()
            except StoreError as error:
                log.warning("broker.no_bucket", bucket=name, reason=error.message)


def stores(
    bus: Switchboard, files_mb: int, replicas: int = 1
) -> Iterator[tuple[Bucket | ObjectStore, str]]:
    """Yield everything that gateways share, and what it is called; ``replicas``: of new ones."""
    for bucket in BUCKETS:
        yield Bucket(bus, replace(bucket, replicas=replicas)), bucket.name
    contents = _contents(files_mb, replicas)
    yield ObjectStore(bus, contents), contents.name


def _contents(files_mb: int, replicas: int) -> BucketSettings:
    return replace(cabinet.CONTENTS, max_bytes=files_mb * MEBIBYTE, replicas=replicas)
