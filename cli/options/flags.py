"""Options as flags: of a command, and on the command line that starts another one."""

from dataclasses import Field, fields
from typing import Any

from cyclopts import Parameter

from mesh.errors import MeshError


class UsageError(MeshError):
    """The command was called with settings that cannot work together."""


def group(title: str) -> Parameter:
    """Flatten a dataclass into the command's flags, under a heading of the help page."""
    return Parameter(name="*", group=title)


def flag(item: Field[Any]) -> str:
    """Return the flag of an option without its dashes, also its key in ``mesh.toml``."""
    return item.name.replace("_", "-")


def arguments(options: Any) -> list[str]:
    """Return the command line that gives another command these options.

    Every value is spelled out, so that neither environment nor file can change it on the way.
    """
    line = [(f"--{flag(item)}", getattr(options, item.name)) for item in fields(options)]
    return [word for name, value in line for word in _words(name, value)]


def _words(name: str, value: Any) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [name if value else name.replace("--", "--no-", 1)]
        case tuple():
            return [f"{name}={each}" for each in value]
        case _:
            return [f"{name}={value}"]
