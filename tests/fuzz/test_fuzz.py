"""The fuzzer itself: what it sends is what it says, and a short campaign of it."""

from pathlib import Path

import uvloop

from gateway.bodies import BodyDecoder
from gateway.openapi import OPERATIONS
from mesh.errors import InvalidRequest
from tests.fuzz.campaign import SCRIPTED, Tally, fire, shots
from tests.fuzz.damage import DAMAGES
from tests.support.batches import batch_mesh

BODIES = 1200
POSTED = {operation.path for operation in OPERATIONS if operation.request is not None}


def test_bodies_are_the_same_for_a_seed_and_reach_everything() -> None:
    """A seed repeats a campaign; every endpoint and every damage has its share."""
    sent = list(shots(BODIES, seed=1))

    assert sent == list(shots(BODIES, seed=1))
    assert sent != list(shots(BODIES, seed=2))
    assert {shot.operation.path for shot in sent} == POSTED
    assert {shot.damage for shot in sent} == set(DAMAGES)


def test_an_undamaged_body_is_valid() -> None:
    """What is made from a schema is what the decoder takes."""
    whole = [shot for shot in shots(BODIES, seed=3) if shot.damage == "none"]

    for shot in whole:
        BodyDecoder(shot.operation.request).decode(shot.raw)

    assert len(whole) > BODIES / len(DAMAGES) / 2


def test_most_damage_is_noticed() -> None:
    """Broken bytes are refused nearly always, so the rest of a campaign is not all valid."""
    broken = [s for s in shots(BODIES, seed=4) if s.damage in {"truncated", "bad bytes"}]
    refused = 0
    for shot in broken:
        try:
            BodyDecoder(shot.operation.request).decode(shot.raw)
        except InvalidRequest:
            refused += 1

    assert refused > len(broken) * 0.95


def test_no_body_is_a_server_error(tmp_path: Path) -> None:
    """A short campaign over all endpoints ends without a fault, and gets real answers, too."""

    async def campaign() -> Tally:
        async with batch_mesh(tmp_path, settings=SCRIPTED) as mesh:
            return await fire(mesh.url, BODIES, 5, lambda _done: None)

    tally = uvloop.run(campaign())

    assert tally.faults == []
    assert sum(count for (_, status), count in tally.statuses.items() if status == 200) > 50
    assert sum(tally.statuses.values()) == BODIES
