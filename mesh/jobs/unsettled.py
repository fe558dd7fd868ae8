"""What becomes of work that a runner has pulled and could not settle."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import structlog

from mesh.errors import MeshError
from mesh.jobs.streams import Work

log = structlog.get_logger("mesh.jobs")


@contextmanager
def leaving(work: Work, left: list[Work], what: str) -> Iterator[None]:
    """Go on after failures: the broker delivers the work again when its lease is over.

    left: takes the work if the runner stops, to hand it over at once. what: begins log events.
    """
    try:
        yield
    except anyio.get_cancelled_exc_class():
        left.append(work)
        raise
    except MeshError as error:
        log.warning(f"{what}.left", job=work.pointer.id, code=str(error.code))
    except Exception:
        log.exception(f"{what}.crashed", job=work.pointer.id)
