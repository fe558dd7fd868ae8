"""The events of a response: written in pieces, followed from the store and from memory."""

import pytest

from gateway.responses import event_log
from gateway.responses.archive import Archive, key
from gateway.responses.event_log import EventLog, piece_key, split
from gateway.responses.follower import Follower
from gateway.responses.store import MemoryStore
from mesh.errors import BusUnavailable
from schemas.openai.response_events import Completed, Event, TextDelta
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions

ID = "resp_1"
WHERE = key("acme", ID)
DONE = Response(
    id=ID,
    created_at=1,
    status="completed",
    metadata={},
    model="m",
    reasoning=ReasoningOptions(),
    text=TextConfig(),
)


def delta(number: int, text: str = "x") -> Event:
    return TextDelta(
        sequence_number=number, item_id="msg_1", output_index=0, delta=text, logprobs=[]
    )


def last(number: int) -> Event:
    return Completed(sequence_number=number, response=DONE)


class Unreliable(MemoryStore):
    """A store whose answers get lost: one in two writes is done and reported as failed."""

    writes = 0

    async def create(self, key: str, value: bytes, ttl: float | None = None) -> int:
        self.writes += 1
        revision = await super().create(key, value, ttl)
        if self.writes % 2:
            raise BusUnavailable("the answer was lost")
        return revision


async def followed(store: MemoryStore, log: EventLog | None, after: int = -1) -> list[bytes]:
    """Return the events that a follower sees, which must come to an end."""
    archive = Archive(store, limit=10_000, ttl=60, max_context=10_000)
    follower = Follower(archive, "acme", ID, log)
    return [event async for event in follower.follow(after) if event]


async def test_a_reader_goes_from_the_store_to_memory() -> None:
    """What is written and what is not yet make one sequence, from any place in it."""
    store = MemoryStore()
    log = EventLog(store, WHERE, 60)
    log.add([delta(0), delta(1)])
    await log.write()
    log.add([delta(2), delta(3)])
    await log.write()
    log.add([delta(4), last(5)])

    whole = await followed(store, log)
    assert [b'"sequence_number":%d,' % number in event for number, event in enumerate(whole)] == (
        [True] * 6
    )
    for after in range(6):
        assert await followed(store, log, after) == whole[after + 1 :]
    await log.write()
    assert await followed(store, None) == whole


async def test_a_reader_who_fell_behind_reads_on_from_the_store() -> None:
    """What leaves the memory while somebody reads it is in the store by then."""
    store = MemoryStore()
    log = EventLog(store, WHERE, 60)
    archive = Archive(store, limit=10_000, ttl=60, max_context=10_000)
    log.add([delta(0), delta(1), delta(2)])
    follower = Follower(archive, "acme", ID, log)
    reading = follower.follow(-1)
    read = [await anext(reading), await anext(reading)]
    await log.write()
    log.add([delta(3)])
    await log.write()
    log.add([last(4)])
    read += [event async for event in reading if event]

    assert read == await followed(store, log)


async def test_a_write_whose_answer_was_lost_is_repeated() -> None:
    """Nothing is written twice, and what came meanwhile is written after it."""
    store = Unreliable()
    log = EventLog(store, WHERE, 60)
    for number in range(4):
        log.add([delta(number)])
        await log.write()
    log.add([last(4)])
    while log.stored < 5:
        await log.write()

    assert len(await followed(store, None)) == 5


async def test_a_piece_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many events become several pieces; an event that is larger alone is one."""
    monkeypatch.setattr(event_log, "LARGEST", 1000)
    store = MemoryStore()
    log = EventLog(store, WHERE, 60)
    log.add([delta(0, "x" * 5000), *(delta(number) for number in range(1, 9)), last(9)])
    await log.write()

    sizes: list[int] = []
    while (entry := await store.get(piece_key(WHERE, len(sizes)))) is not None:
        sizes.append(len(split(entry.value)))
    assert sizes[0] == 1
    assert len(sizes) > 3
    assert sum(sizes) == 10
