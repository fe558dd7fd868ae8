"""Holds many streams open at once: prints ``open`` when every one has had its first token.

Ends with an error as soon as one of them does.
"""

import argparse
import asyncio
import sys
from typing import cast

import msgspec
import uvloop

from bench import script
from bench.load import Load, chat_request, target_of

BATCH = 50
"""Streams opened at once: a thousand at the same moment would try the queue, not the memory."""


class Holder(asyncio.Protocol):
    """One open stream."""

    def __init__(self, request: bytes, lost: asyncio.Future[str]) -> None:
        self._request, self._lost = request, lost
        self._last = b""
        self.open = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._last = data
        if script.FIRST in data:
            self.open.set()
        if b"data: [DONE]" in data:
            self._lose("a stream ended early")

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(f"a stream was cut off ({error})")

    def _lose(self, how: str) -> None:
        if not self._lost.done():
            self._lost.set_result(f"{how}: {self._last[-300:]!r}")


async def hold(load: Load) -> str:
    """Open the streams, a batch at a time, and hold them until one ends; returns how it did."""
    host, port = target_of(load)
    loop = asyncio.get_running_loop()
    request, lost = chat_request(load), loop.create_future()
    for start in range(0, load.clients, BATCH):
        holders = [
            (await loop.create_connection(lambda: Holder(request, lost), host, port))[1]
            for _ in range(min(BATCH, load.clients - start))
        ]
        for holder in holders:
            opened = asyncio.ensure_future(holder.open.wait())
            await asyncio.wait((opened, lost), return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                opened.cancel()
                return str(lost.result())
    print("open", flush=True)
    return str(await lost)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", help="as for bench.load; seconds and warmup play no part")
    sys.exit(uvloop.run(hold(msgspec.json.decode(parser.parse_args().load, type=Load))))
