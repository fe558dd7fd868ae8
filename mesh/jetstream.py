"""JetStream's interface, as far as the mesh speaks it: requests in JSON, failures by number.

Raw requests and not nats-py's objects, because those belong to one client, and the bus makes a new
one at every reconnect; and because requests cross accounts by ordinary imports.
"""

from typing import Final

import msgspec

from mesh.errors import Conflict, MeshError, PayloadTooLarge, StoreError, StoreFull
from schemas.wire import UNREADABLE

STATUS: Final = "Status"
SEQUENCE: Final = "Nats-Sequence"
SUBJECT: Final = "Nats-Subject"
NUM_PENDING: Final = "Nats-Num-Pending"
MARKER_REASON: Final = "Nats-Marker-Reason"
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
TTL: Final = "Nats-TTL"
ROLLUP: Final = "Nats-Rollup"
"""Of the message that replaces all others on its subject."""

NOT_FOUND: Final = 10059
"""There is no such stream."""
NO_MESSAGE: Final = 10037
"""There is no such message in the stream."""
NAME_IN_USE: Final = 10058
"""The stream exists with another configuration."""
_CONFLICTS: Final = frozenset({10071, 10164})
_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077})
"""Limits of account, server, memory and disk; 10077 is the stream's own, or a failed write."""
_TOO_LARGE: Final = 10054


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket's stream is made with; ``max_age`` in nanoseconds, 0 for ever."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age: int = 0
    max_msgs_per_subject: int = 1
    num_replicas: int = 1
    storage: str = "file"
    retention: str = "limits"
    discard: str = "new"
    allow_direct: bool = True
    allow_msg_ttl: bool = True
    allow_rollup_hdrs: bool = True
    deny_delete: bool = True


class ApiError(msgspec.Struct, frozen=True, kw_only=True):
    """What JetStream has against a request; ``err_code`` tells what it is."""

    err_code: int = 0
    description: str = ""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    num_replicas: int = 1


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Any answer: ``seq`` is set in those to a publish, ``config`` in those about a stream."""

    error: ApiError | None = None
    seq: int = 0
    config: _Kept = _Kept()


class SubjectsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Asks about a stream, and for the counts of the subjects that match."""

    subjects_filter: str


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A server with a copy, as the leader knows it; ``active``: nanoseconds since it was heard."""

    active: int = 0


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Who has copies of a stream, besides the leader that says so.

    leader: empty where none is known; then any server answers with what it has.
    """

    leader: str = ""
    replicas: tuple[Replica, ...] | None = None


class SubjectsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader of a stream says of it: how many messages a subject has."""

    class State(msgspec.Struct, frozen=True, kw_only=True):
        """Counts by subject; none at all where nothing matches."""

        subjects: dict[str, int] | None = None

    state: State = State()
    cluster: Cluster = Cluster()


class LastMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the leader gives it; ``hdrs``: its head as it was sent."""

    class Stored(msgspec.Struct, frozen=True, kw_only=True):
        """Both are base64 on the wire."""

        seq: int
        data: bytes = b""
        hdrs: bytes = b""

    message: Stored | None = None


class DirectGet(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for up to ``batch`` messages on a subject, from sequence ``seq`` on."""

    seq: int
    next_by_subj: str
    batch: int


class LastGet(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for the last message of the stream that matches."""

    last_by_subj: str = ">"


_replies = msgspec.json.Decoder(Reply)


def read_reply(payload: bytes) -> Reply:
    """Return an answer, whatever it says; raises ``StoreError`` if it says nothing."""
    try:
        return _replies.decode(payload)
    except UNREADABLE as error:
        raise StoreError(f"the broker's answer is no JetStream answer: {error}") from None


def checked(reply: Reply, what: str) -> Reply:
    """Return an answer that tells of success; raises the ``MeshError`` that it tells otherwise."""
    if reply.error is not None:
        raise _failure(reply.error, what)
    return reply


def _failure(error: ApiError, what: str) -> MeshError:
    if error.err_code in _CONFLICTS:
        return Conflict(f"{what} has changed meanwhile")
    if error.err_code in _FULL:
        return StoreFull(f"{what} cannot be stored, there is no room: {error.description}")
    if error.err_code == _TOO_LARGE:
        return PayloadTooLarge(f"{what} is too large to be stored: {error.description}")
    return StoreError(f"{what}: {error.description}")
