"""What is said to JetStream about work streams: requests in JSON, as far as jobs need them."""

from datetime import datetime

import msgspec

FORGET_AFTER = 600.0
"""Seconds after which an unused consumer goes; the messages stay."""
SAME_WITHIN = 120.0
"""Seconds for which the broker knows a message that is published again."""
NS = 1_000_000_000


class WorkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Schedules exclude ``discard: new``, so the broker bounds nothing here: the door does."""

    name: str
    subjects: tuple[str, ...]
    num_replicas: int = 1
    retention: str = "workqueue"
    storage: str = "file"
    discard: str = "old"
    allow_msg_schedules: bool = True
    duplicate_window: int = round(SAME_WITHIN * NS)


class ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's consumer; ``ack_wait`` in nanoseconds."""

    name: str
    durable_name: str
    filter_subject: str
    ack_policy: str = "explicit"
    ack_wait: int
    max_deliver: int = -1
    max_ack_pending: int = 10_000
    inactive_threshold: int = round(FORGET_AFTER * NS)


class NewConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for a consumer."""

    stream_name: str
    config: ConsumerConfig


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for messages that are there now."""

    batch: int
    no_wait: bool = True


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages there are, in all and by subject."""

    messages: int = 0
    subjects: dict[str, int] = {}


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker says of a stream; ``ts``: when, by its clock."""

    ts: datetime
    state: StreamState = StreamState()


infos = msgspec.json.Decoder(StreamInfo)
