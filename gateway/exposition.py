"""Where metrics are kept: in this process, or in files that several gateways on one port share.

With the environment variable set, prometheus_client keeps every value in a file per process, and
any of the processes can add them all up. What is read anew each time (the fleet) is the same
everywhere and stays each process's own.
"""

import os
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of the files; prometheus_client looks at it when it is imported."""


class _SharedRegistry(CollectorRegistry):
    """Tells the sums over all processes, in place of this one's own values."""

    def register(self, collector: Collector) -> None:
        if not isinstance(collector, MetricWrapperBase):
            super().register(collector)


def new_registry() -> CollectorRegistry:
    """Return a registry for this gateway's metrics; gauges need a ``multiprocess_mode``."""
    if FOLDER not in os.environ:
        return CollectorRegistry()
    registry = _SharedRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
    return registry
