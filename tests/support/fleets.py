"""Fleets made of adverts, and a clock that stands still, for tests of pure decisions."""

from mesh.fleet import Fleet
from schemas.fleet import UNKNOWN, Advert, ModelState, ModelStatus, Tier


class FakeClock:
    """Time that moves only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def model(
    name: str = "m",
    *,
    slots: int = 4,
    free: int | None = None,
    idle: int = UNKNOWN,
    context: int = 4096,
    prefill: float = 0.0,
    decode: float = 0.0,
    overhead_ms: float = 0.0,
    state: ModelState = ModelState.READY,
    abilities: tuple[str, ...] = (),
    warm: tuple[str, ...] = (),
    detail: str = "",
    digest: str = "",
) -> ModelStatus:
    """Return a model's status; all slots free unless told otherwise."""
    return ModelStatus(
        name=name,
        state=state,
        context=context,
        slots=slots,
        slots_free=slots if free is None else free,
        slots_idle=idle,
        prefill_rate=prefill,
        decode_rate=decode,
        overhead_ms=overhead_ms,
        abilities=abilities,
        warm=warm,
        detail=detail,
        digest=digest,
    )


def advert(
    worker: str,
    *models: ModelStatus,
    tier: Tier = Tier.EDGE,
    incarnation: str = "i1",
    sequence: int = 1,
    draining: bool = False,
) -> Advert:
    """Return a worker's advert."""
    return Advert(
        worker=worker,
        tier=tier,
        incarnation=incarnation,
        sequence=sequence,
        draining=draining,
        models=models,
    )


def fleet_of(*adverts: Advert, clock: FakeClock | None = None) -> Fleet:
    """Return a settled fleet that has heard these adverts."""
    clock = clock or FakeClock()
    fleet = Fleet(clock)
    clock.now += 10
    for each in adverts:
        fleet.update(each)
    return fleet
