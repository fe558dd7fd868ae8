"""Stored chat completions without a broker: rows, filters, pages, and what is left half-way."""

from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from gateway.chats.archive import ChatArchive, place
from gateway.chats.endpoint import metadata_of
from gateway.chats.kept import ChatNotFound, ChatRow, KeptChat, Wanted, messages_of
from gateway.chats.store import ChatStore, MemoryRows
from gateway.completion import Gatherer
from gateway.problems import BadRequest
from gateway.responses.store import MemoryStore
from mesh.errors import Conflict, StoreError
from schemas.frames import Delta, Done
from schemas.inference import FunctionCall, ToolCall, Usage
from schemas.openai.chat import ContentPart, Turn
from schemas.openai.stored_chats import StoredMessage
from schemas.wire import encode

EVERYTHING = Wanted(metadata={})


def row(name: str, at: int = 0, model: str = "m", **metadata: str) -> ChatRow:
    return ChatRow(
        id=name, created_ms=at, expires_at=10.0, model=model, size=100, metadata=metadata
    )


def chat(name: str, text: str = "hi") -> KeptChat:
    gatherer = Gatherer(1)
    gatherer.add(Delta(seq=0, text=text))
    done = Done(seq=1, finish_reason="stop", usage=Usage())
    completion = gatherer.complete(done, completion_id=name, model="m", created=0)
    return KeptChat(completion=completion, messages=(Turn(role="user", content="hello"),))


class Shelves:
    """An archive in memory, and what lies behind it."""

    def __init__(self) -> None:
        self.said, self.rows = MemoryStore(), MemoryRows(MemoryStore())
        self.archive = ChatArchive(
            ChatStore(said=self.said, rows=self.rows), limit=10_000, ttl=60, most=10_000
        )

    async def ids(self, tenant: str, **query: str) -> list[str]:
        page = await self.archive.page(tenant, EVERYTHING, query)
        return [found.id for found in page.data]


def test_rows_are_sorted_and_filtered() -> None:
    """Rows come as they were made; a model and every piece of metadata have to fit."""
    rows = [row("c", 2, a="1", b="2"), row("b", 1, a="1"), row("a", 2, model="n")]

    assert [r.id for r in EVERYTHING.among(rows)] == ["b", "a", "c"]
    assert [r.id for r in Wanted(metadata={"a": "1"}).among(rows)] == ["b", "c"]
    assert [r.id for r in Wanted(metadata={"a": "1", "b": "2"}).among(rows)] == ["c"]
    assert [r.id for r in Wanted(metadata={"a": "2"}).among(rows)] == []
    assert [r.id for r in Wanted(model="n", metadata={}).among(rows)] == ["a"]


def test_metadata_are_asked_for_in_brackets() -> None:
    """Keys may hold anything, brackets too; other parameters are none of theirs."""
    query = [("limit", "2"), ("metadata[a]", "1"), ("metadata[b[c]]", ""), ("metadatas", "x")]
    assert metadata_of(query) == {"a": "1", "b[c]": ""}
    assert metadata_of([("metadata[a]", "1"), ("metadata[a]", "1")]) == {"a": "1"}


@pytest.mark.parametrize(
    "query",
    [
        [("metadata", "a")],
        [("metadata[a]", "1"), ("metadata[a]", "2")],
        [("metadata[a]", "v" * 513)],
        [(f"metadata[{'k' * 65}]", "v")],
        [(f"metadata[{n}]", "v") for n in range(17)],
    ],
)
def test_metadata_that_nothing_can_have_are_refused(query: list[tuple[str, str]]) -> None:
    """They are named, within the limits that metadata have when they are written."""
    with pytest.raises(BadRequest) as caught:
        metadata_of(query)
    assert caught.value.param == "metadata"


def test_messages_are_shown_as_they_were_sent() -> None:
    """Parts stay parts beside the text that the model read, and calls have their type."""
    part = ContentPart(type="text", text="a")
    call = ToolCall(id="1", function=FunctionCall(name="f", arguments="{}"))
    turns = (
        Turn(role="user", content=(part, part)),
        Turn(role="assistant", tool_calls=(call,)),
    )
    first, second = messages_of(replace(chat("x"), messages=turns))

    assert first == StoredMessage(id="x-0", role="user", content="aa", content_parts=(part, part))
    assert (second.id, second.content, second.content_parts) == ("x-1", None, None)
    assert b'"type":"function"' in msgspec.json.encode(second)


async def test_folders_in_memory_cannot_be_confused() -> None:
    """A tenant whose name is the beginning of another's key sees nothing of it."""
    shelves = Shelves()
    await shelves.archive.keep("a/b", chat("c"), {})
    await shelves.archive.keep("a", chat("d"), {})

    assert await shelves.ids("a/b") == ["c"]
    assert await shelves.ids("a") == ["d"]
    with pytest.raises(ChatNotFound):
        await shelves.archive.find("a", "b/c")


async def test_what_was_said_comes_after_its_row_and_goes_before_it() -> None:
    """A row alone is no chat completion; it can be removed, and hides none of the others."""
    shelves = Shelves()
    for name in ("a", "b", "c"):
        await shelves.archive.keep("t", chat(name), {})
    await shelves.said.delete(place("t", "a"))

    assert await shelves.ids("t") == ["b", "c"]
    assert await shelves.ids("t", limit="1") == ["b"]
    with pytest.raises(ChatNotFound):
        await shelves.archive.find("t", "a")
    await shelves.archive.remove("t", "a")
    with pytest.raises(ChatNotFound):
        await shelves.archive.remove("t", "a")


async def test_a_record_of_another_version_hides_none_of_the_others() -> None:
    """What cannot be read is left out of lists, and is an error by its id."""
    shelves = Shelves()
    for name in ("a", "b"):
        await shelves.archive.keep("t", chat(name), {})
    entry = await shelves.said.get(place("t", "a"))
    assert entry is not None
    await shelves.said.update(place("t", "a"), b'{"completion": 1}', entry.revision)

    assert await shelves.ids("t") == ["b"]
    with pytest.raises(StoreError):
        await shelves.archive.find("t", "a")


async def test_what_cannot_be_written_is_not_stored() -> None:
    """An id is given once: who comes second is told, and the first stays."""
    shelves = Shelves()
    assert await shelves.archive.keep("t", chat("a"), {}) is None
    assert await shelves.archive.keep("t", chat("a", "other"), {}) == "conflict"
    assert await shelves.archive.keep("t", chat("b", "x" * 10_000), {}) == "too_large"
    found = await shelves.archive.find("t", "a")
    assert found.kept == chat("a")


class Raced(MemoryRows):
    """Rows that somebody else changes just before a change of ours, as often as ``others`` says."""

    def __init__(self, store: MemoryStore, others: Iterator[int], folder: str = "") -> None:
        super().__init__(store, folder)
        self._others = others

    def within(self, folder: str) -> "Raced":
        """Return the entries of a folder."""
        return Raced(self._store, self._others, self.key(folder, ""))

    async def update(self, key: str, value: bytes, revision: int, ttl: float | None = None) -> int:
        """Be late, if there is another one."""
        if next(self._others, None) is not None:
            await super().update(key, encode(row(key, at=7)), revision, ttl)
        return await super().update(key, value, revision, ttl)


@pytest.mark.parametrize(("others", "wins"), [(1, True), (4, True), (5, False)])
async def test_a_change_is_tried_again_when_somebody_was_faster(others: int, wins: bool) -> None:
    """It is written over what is there then, until there is no hope that it gets its turn."""
    store = ChatStore(said=MemoryStore(), rows=Raced(MemoryStore(), iter(range(others))))
    archive = ChatArchive(store, limit=10_000, ttl=60, most=10_000, wall_clock=lambda: 0.0)
    await archive.keep("t", chat("a"), {})
    if not wins:
        with pytest.raises(Conflict):
            await archive.change("t", "a", {"k": "v"})
        return
    assert (await archive.change("t", "a", {"k": "v"})).metadata == {"k": "v"}
    found = await archive.find("t", "a")
    assert (found.row.metadata, found.row.created_ms) == ({"k": "v"}, 7)
