"""What holds for every test."""

import os
import sys
from typing import Final

import pytest

# Images for containers often tell Python not to keep what it has compiled. These tests start
# several hundred processes, each of which would compile the whole project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

PATIENT: Final = ("faults", "conformance")
"""Folders whose tests mostly wait: for elections, leases, time-outs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait, so that others compute meanwhile and none is left over."""
    items.sort(key=lambda item: item.path.parent.name not in PATIENT)
