"""The store inside a gateway, pages of items, and how policies carry on."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.problems import BadRequest, Forbidden
from gateway.responses.archive import Archive, key
from gateway.responses.items import Reference
from gateway.responses.kept import History, Kept, ResponseNotFound
from gateway.responses.pages import page
from gateway.responses.store import MemoryStore
from mesh.errors import Conflict, PayloadTooLarge
from schemas.inference import Policy
from schemas.openai.response_items import InputText, Item, MessageItem
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions
from schemas.wire import encode


class Clock:
    """Time that stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_entries_are_written_by_revision() -> None:
    """Only who knows the last change may write or remove an entry."""
    store = MemoryStore()
    first = await store.create("a", b"1")
    with pytest.raises(Conflict):
        await store.create("a", b"2")
    second = await store.update("a", b"2", first)
    with pytest.raises(Conflict):
        await store.update("a", b"3", first)
    with pytest.raises(Conflict):
        await store.delete("a", first)
    await store.delete("a", second)
    await store.delete("a")
    assert await store.get("a") is None
    with pytest.raises(Conflict):
        await store.update("a", b"3", second)


async def test_entries_expire() -> None:
    """An entry is gone when its time is over, and may be made anew."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    await store.create("a", b"1", 10)
    clock.now = 9.9
    assert await store.get("a") is not None
    clock.now = 10
    assert await store.get("a") is None
    await store.create("a", b"2")


async def test_the_oldest_entries_go_first() -> None:
    """The store is bounded in number and in bytes; what is written anew counts as new."""
    store = MemoryStore(max_entries=3, max_bytes=10)
    revision = await store.create("a", b"1")
    await store.create("b", b"1")
    await store.update("a", b"1", revision)
    for name in "cd":
        await store.create(name, b"1")
    assert [name for name in "abcd" if await store.get(name)] == ["a", "c", "d"]
    await store.create("e", b"x" * 9)
    assert [name for name in "abcde" if await store.get(name)] == ["d", "e"]
    await store.create("f", b"x" * 11)
    assert [name for name in "abcdef" if await store.get(name)] == []


def items(count: int) -> tuple[Item, ...]:
    return tuple(
        MessageItem(id=f"m{n}", status="completed", role="user", content=(InputText(text="x"),))
        for n in range(count)
    )


PAGES: list[tuple[dict[str, str], list[str], bool]] = [
    ({}, ["m4", "m3", "m2", "m1", "m0"], False),
    ({"order": "asc"}, ["m0", "m1", "m2", "m3", "m4"], False),
    ({"order": "asc", "limit": "2"}, ["m0", "m1"], True),
    ({"order": "asc", "limit": "2", "after": "m1"}, ["m2", "m3"], True),
    ({"limit": "3", "after": "m3"}, ["m2", "m1", "m0"], False),
    ({"after": "m0"}, [], False),
]


@pytest.mark.parametrize(("query", "expected", "has_more"), PAGES)
def test_pages(query: dict[str, str], expected: list[str], has_more: bool) -> None:
    """Order, limit and the id to go on from work together."""
    found = page(items(5), query)
    assert [item.id for item in found.data] == expected
    assert found.has_more is has_more
    assert (found.first_id, found.last_id) == (
        (expected[0], expected[-1]) if expected else (None, None)
    )


@pytest.mark.parametrize(
    "query", [{"order": "up"}, {"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "m9"}]
)
def test_nonsense_in_a_page_is_named(query: dict[str, str]) -> None:
    """The parameter at fault is in the error."""
    with pytest.raises(BadRequest) as caught:
        page(items(5), query)
    assert caught.value.param == next(iter(query))


POLICIES: list[tuple[tuple[Policy, ...], Policy, Policy | None]] = [
    ((), Policy.EDGE_FIRST, Policy.EDGE_FIRST),
    ((Policy.EDGE_FIRST,), Policy.CLOUD_ONLY, Policy.CLOUD_ONLY),
    ((Policy.EDGE_ONLY,), Policy.EDGE_FIRST, Policy.EDGE_ONLY),
    ((Policy.EDGE_ONLY,), Policy.EDGE_ONLY, Policy.EDGE_ONLY),
    ((Policy.EDGE_ONLY,), Policy.CLOUD_ONLY, None),
    ((Policy.CLOUD_ONLY,), Policy.EDGE_ONLY, Policy.EDGE_ONLY),
    ((Policy.CLOUD_ONLY, Policy.EDGE_ONLY), Policy.EDGE_FIRST, Policy.EDGE_ONLY),
]


@pytest.mark.parametrize(("earlier", "asked", "expected"), POLICIES)
def test_the_past_limits_where_a_turn_may_go(
    earlier: tuple[Policy, ...], asked: Policy, expected: Policy | None
) -> None:
    """What was kept from the cloud stays away from it; nothing else is a limit."""
    history = History(policies=earlier)
    if expected is None:
        with pytest.raises(Forbidden):
            history.limit(asked)
    else:
        assert history.limit(asked) is expected


def kept(**fields: Any) -> Kept:
    response = Response(
        id="resp_1",
        created_at=0,
        status="completed",
        metadata={},
        model="m",
        reasoning=ReasoningOptions(),
        text=TextConfig(),
    )
    return Kept(policy=Policy.EDGE_FIRST, response=response, input=items(1), **fields)


@pytest.mark.parametrize("fields", [{"weight": 1001}, {"ancestors": ("resp_0",) * 512}])
async def test_a_conversation_has_a_longest_length(fields: dict[str, Any]) -> None:
    """One that has grown beyond what a request may hold is refused before it is read."""
    store = MemoryStore()
    archive = Archive(store, limit=1 << 20, ttl=60, max_context=1000)
    await store.create(key("t", "resp_1"), encode(kept(**fields)))
    with pytest.raises(PayloadTooLarge) as caught:
        await archive.history("t", "resp_1")
    assert caught.value.param == "previous_response_id"


async def test_tenants_have_keys_of_their_own() -> None:
    """No name of a tenant and no id can be put together to another tenant's key."""
    store = MemoryStore()
    archive = Archive(store, limit=1 << 20, ttl=60, max_context=1000)
    await archive.keep("a/b", kept())
    assert (await archive.find("a/b", "resp_1")).kept == kept()
    for response_id in ("b/resp_1", "../a/b/resp_1", "", "resp_1/lease", "x" * 500):
        with pytest.raises(ResponseNotFound):
            await archive.find("a", response_id)


async def test_a_reference_repeated_is_no_lever() -> None:
    """A small input that names one item over and over cannot become a huge prompt."""
    token = "0" * 32
    archive = Archive(MemoryStore(), limit=1 << 20, ttl=60, max_context=1000)
    item = MessageItem(
        id=f"msg_{token}_i0",
        status="completed",
        role="user",
        content=(InputText(text="x" * 100),),
    )
    response = replace(kept().response, id=f"resp_{token}")
    await archive.keep("t", replace(kept(), response=response, input=(item,)))
    named = Reference(item.id, "input[0]")
    assert await archive.resolve("t", (named, named)) == ((item, item), (Policy.EDGE_FIRST,))
    with pytest.raises(PayloadTooLarge):
        await archive.resolve("t", (named,) * 10)


async def test_references_to_many_responses_are_refused() -> None:
    """An input does not make a gateway read half of the store."""
    archive = Archive(MemoryStore(), limit=1 << 20, ttl=60, max_context=1000)
    many = tuple(Reference(f"msg_{n:032x}_0", f"input[{n}]") for n in range(65))
    with pytest.raises(PayloadTooLarge):
        await archive.resolve("t", many)
