"""The engine's rows: ``python -m bench engine [--only NAME...]``."""

from collections.abc import Callable

from bench.figures import Row
from bench.rows import (
    affinity,
    background,
    batches,
    drafts,
    overhead,
    pauses,
    responsiveness,
    serving,
    warmth,
)
from bench.targets import Workshop

ROWS: dict[str, Callable[[Workshop, float, int], Row]] = {
    "batches": batches.measure,
    "serving": serving.measure,
    "pauses": pauses.measure,
    "responsiveness": responsiveness.measure,
    "background": background.measure,
    "warmth": warmth.measure,
    "drafts": drafts.measure,
    "affinity": affinity.measure,
    "overhead": overhead.measure,
}
