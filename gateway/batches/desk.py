"""What the lines of one batch are worked on with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import UnsetType

from gateway.batches.kept import BatchRecord
from gateway.batches.kinds import KINDS, Kind
from gateway.batches.purse import Purse
from mesh.jobs.client import Jobs


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What clerks of one batch work with.

    resolve: a model's name in the mesh. purse: of a batch whose key has a budget for the cloud.
    """

    record: BatchRecord
    jobs: Jobs
    resolve: Callable[[str | UnsetType], str]
    purse: Purse | None = None

    @property
    def kind(self) -> Kind[Any]:
        """The endpoint of the batch."""
        return KINDS[self.record.batch.endpoint]

    @property
    def deadline_ms(self) -> int:
        """Milliseconds that are left of the batch's window."""
        expires_at = self.record.batch.expires_at or 0
        return max(1, round((expires_at - time.time()) * 1000))
