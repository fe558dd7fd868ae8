"""How often this process looks for garbage that reference counting does not free.

Requests end without cycles, so there is seldom any. Python's defaults look after every 700 objects,
and time and again at everything that lives as long as the process: an eighth of the gateway's
processor time (measured), in pauses that every stream shares; and in an engine a tenth of what a
step costs beside llama.cpp.
"""

import gc
from typing import Final

THRESHOLDS: Final = (5_000, 20, 10)
"""Objects made and kept until the young are looked at; looks until the next older ones are."""


def look_less_often() -> None:
    """Call once, when what lives as long as the process is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
