"""The id of a request: on its answer, on every log line about it, and inside the mesh."""

import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

HEADER: Final = "x-request-id"
REQUEST_ID: Final = web.RequestKey("request_id", str)
"""Where a request keeps its id; set before any handler runs."""

_SANE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def id_source() -> Callable[[], str]:
    """Return a maker of ids that are unique, because every maker has its own random beginning."""
    beginning = secrets.token_hex(6)
    counter = itertools.count()
    return lambda: f"{beginning}{next(counter):08x}"


def given_id(headers: Mapping[str, str]) -> str | None:
    """Return the caller's own id, unless it could not be put into a header or a log line."""
    given = headers.get(HEADER)
    return given if given is not None and _SANE.fullmatch(given) else None
