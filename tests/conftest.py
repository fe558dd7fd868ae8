"""What holds for every test."""

import os
import sys
from typing import Final

import pytest

# Images for containers often tell Python not to keep what it has compiled. These tests start
# several hundred processes, each of which would compile the whole project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST: Final = (
    "test_job_cluster.py",
    "test_conformance.py",
    "test_batch_faults.py",
    "test_job_faults.py",
)
"""Files whose tests mostly wait: for elections, leases, time-outs, other people's suites."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that others compute meanwhile and it is not left over."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
