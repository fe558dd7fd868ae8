"""How much room there is for jobs: what the door knows before it lets one in.

Records need room to grow: a change is stored before what it replaces goes. So the door closes while
there is still room for the results of what it has let in, which the broker's own limit, the last
resort, knows nothing of.
"""

import msgspec

from mesh import subjects
from mesh.errors import StoreFull
from mesh.exchange import ask
from mesh.inbox import Switchboard
from mesh.jetstream import checked, read_reply
from mesh.storage import Store

FULL = 0.75
"""Share of the records' room from which nothing new is taken."""


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    max_bytes: int = -1


class _State(msgspec.Struct, frozen=True, kw_only=True):
    bytes: int = 0


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    config: _Config = _Config()
    state: _State = _State()


_infos = msgspec.json.Decoder(_Info)
_ROOM = subjects.stored_info(subjects.bucket_stream(Store.JOBS))


class Room:
    """What the records take up, as the broker said last, and what was let in since."""

    def __init__(self, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._used, self._most = 0, 0

    async def look(self, bus: Switchboard) -> None:
        """Ask the broker; raises ``MeshError``."""
        payload = (await ask(bus, _ROOM, b"", timeout=self._timeout)).payload
        checked(read_reply(payload), "the records of jobs (`mesh jobs init` makes them)")
        info = _infos.decode(payload)
        self._used, self._most = info.state.bytes, info.config.max_bytes

    def take(self, size: int) -> None:
        """Let a job of ``size`` bytes in; raises ``StoreFull``."""
        if self._most > 0 and self._used + size > self._most * FULL:
            raise StoreFull(
                "there is no room for more jobs: results are kept for their time, and what waits "
                "must still be stored; retry later",
                retry_after=10.0,
            )
        self._used += size
