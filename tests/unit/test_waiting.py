"""The waiting line: fair between tenants, soonest deadline first."""

import pytest

from mesh.waiting import WaitingLine


class Item:
    def __init__(self, name: str) -> None:
        self.name = name


def served(line: WaitingLine[Item]) -> list[str]:
    """Serve everyone in line and return their names in order."""
    names = []
    while (item := next(iter(line), None)) is not None:
        names.append(item.name)
        line.serve(item)
    return names


def test_soonest_deadline_goes_first_within_a_tenant() -> None:
    """Deadlines order a tenant's requests, arrival breaks ties."""
    line: WaitingLine[Item] = WaitingLine()
    for name, deadline in (("late", 9.0), ("soon", 1.0), ("soon too", 1.0)):
        line.add(Item(name), "a", deadline)
    assert served(line) == ["soon", "soon too", "late"]


def test_tenants_take_turns() -> None:
    """A tenant with many requests delays another by one request each."""
    line: WaitingLine[Item] = WaitingLine()
    for number in range(3):
        line.add(Item(f"greedy{number}"), "greedy", 1.0)
    line.add(Item("modest"), "modest", 99.0)
    assert served(line) == ["greedy0", "modest", "greedy1", "greedy2"]


def test_removed_items_are_not_served_and_do_not_count() -> None:
    """Someone who gave up is skipped; removing twice is harmless."""
    line: WaitingLine[Item] = WaitingLine()
    first, second = Item("first"), Item("second")
    line.add(first, "a", 1.0)
    line.add(second, "a", 2.0)
    line.remove(first)
    line.remove(first)
    assert len(line) == 1
    assert served(line) == ["second"]
    assert len(line) == 0


def test_nobody_hides_those_behind() -> None:
    """Everyone is shown in the order of service, whoever cannot be placed."""
    line: WaitingLine[Item] = WaitingLine()
    for tenant in "abc":
        line.add(Item(f"{tenant}1"), tenant, 1.0)
        line.add(Item(f"{tenant}2"), tenant, 2.0)
    assert [item.name for item in line] == ["a1", "a2", "b1", "b2", "c1", "c2"]


STANDING = (("a", 1.0), ("a", 2.0), ("b", 1.0), ("b", 2.0), ("b", 3.0))


@pytest.mark.parametrize("newcomer", [("a", 0.5), ("a", 1.0), ("a", 9.0), ("b", 2.5), ("c", 0.1)])
def test_a_newcomer_knows_how_many_come_first(newcomer: tuple[str, float]) -> None:
    """Its own tenant's sooner deadlines, and as many turns of each other tenant."""
    line: WaitingLine[Item] = WaitingLine()
    for tenant, deadline in STANDING:
        line.add(Item("standing"), tenant, deadline)
    ahead = line.ahead(*newcomer)
    line.add(Item("new"), *newcomer)
    assert served(line).index("new") == ahead
