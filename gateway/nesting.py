"""A bound on how deep the JSON of a request may go where grammars or templates walk through it."""

from typing import Any, Final

from mesh.errors import InvalidRequest

MAX_DEPTH: Final = 64
"""Levels of nesting in a tool's parameters or an output schema: grammars grow with depth."""


def check_depth(value: Any, param: str) -> None:
    """Raise ``InvalidRequest`` if lists and objects are nested more than ``MAX_DEPTH`` deep."""
    level = _children(value)
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [inner for outer in level for inner in _children(outer)]
    raise InvalidRequest(f"'{param}' is nested more than {MAX_DEPTH} levels deep.", param=param)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
