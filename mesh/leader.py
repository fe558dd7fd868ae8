"""What the leader of a stream says, where the word of any server with a copy is not enough.

Direct gets are answered by every server that has a copy. One that was cut off or stood still knows
nothing of what was stored meanwhile until it has caught up. A leader that was cut off is no better
for some seconds: it still answers while the others have elected another one. Its word counts only
if it has heard from a majority of them within less time than an election takes. And as a leader may
come or go at the very moment, that something is missing counts only if it still is a little later.
"""

import asyncio
from dataclasses import dataclass

import msgspec

from mesh import jetstream, subjects
from mesh.depot import Depot
from mesh.errors import PermissionDenied, StoreError
from mesh.inbox import Delivery, Headers
from mesh.jetstream import (
    Cluster,
    LastGet,
    LastMessage,
    SubjectsInfo,
    SubjectsQuery,
    checked,
    read_reply,
)

IN_TOUCH = 3_000_000_000
"""Nanoseconds. Followers send a sign every second, and elect another leader after four at least."""

LOOK_AGAIN = 0.5
"""Seconds after which a leader of several servers is asked once more for what it has not."""

_infos = msgspec.json.Decoder(SubjectsInfo)
_messages = msgspec.json.Decoder(LastMessage)


@dataclass(frozen=True)
class Leader:
    """The leader of the stream behind a bucket; raises ``StoreError`` or ``BusError``."""

    depot: Depot

    async def last(self, subject: str) -> Delivery | None:
        """Return the last message on a subject, ``None`` if there is none.

        Raises ``StoreError`` as well if no majority of the servers can be known to agree.
        """
        info = await self._info(subject)
        if not info.state.subjects and info.cluster.replicas:
            await asyncio.sleep(LOOK_AGAIN)
            info = await self._info(subject)
        return await self._message(subject) if info.state.subjects else None

    async def _info(self, subject: str) -> SubjectsInfo:
        query = msgspec.json.encode(SubjectsQuery(subjects_filter=subject))
        info = _infos.decode(await self._ask(subjects.stored_info(self.depot.stream), query))
        if not is_in_touch(info.cluster):
            raise StoreError(
                f"{self.depot.what}: the broker that answers has lost touch with the majority of "
                "its cluster; retry",
                retry_after=1.0,
            )
        return info

    async def _message(self, subject: str) -> Delivery | None:
        query = msgspec.json.encode(LastGet(last_by_subj=subject))
        payload = await self._ask(subjects.stored_last(self.depot.stream), query)
        stored = _messages.decode(payload).message
        if stored is None:
            return None  # it went after it was counted
        headers = {**read_head(stored.hdrs), jetstream.SEQUENCE: str(stored.seq)}
        return Delivery(subject, stored.data, headers=headers)

    async def _ask(self, subject: str, query: bytes) -> bytes:
        try:
            payload = (await self.depot.ask(subject, query)).payload
        except PermissionDenied as error:
            raise StoreError(
                f"{error.message}: this broker's configuration is older than this program; "
                "print it anew with `mesh broker --print-config`"
            ) from None
        reply = read_reply(payload)
        if reply.error is None or reply.error.err_code != jetstream.NO_MESSAGE:
            checked(reply, self.depot.what)
        return payload


def is_in_touch(cluster: Cluster) -> bool:
    """Tell whether a leader and those that it heard from lately are more than half of all."""
    others = cluster.replicas or ()
    if others and not cluster.leader:
        return False
    near = sum(each.active <= IN_TOUCH for each in others)
    return near >= len(others) / 2


def read_head(head: bytes) -> Headers:
    """Return the headers of a message from its head: a line of the protocol, then one each."""
    pairs = (line.partition(":") for line in head.decode().split("\r\n")[1:] if line)
    return {name: value.strip() for name, _, value in pairs}
