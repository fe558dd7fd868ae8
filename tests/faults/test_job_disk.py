"""Durable jobs when the broker's disk is full: refused or kept, never lost.

A limit on the size of the server's files (RLIMIT_FSIZE) has every write beyond it fail, as a full
disk does, and takes neither root nor a disk of its own.
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.broker import Broker, health
from mesh.errors import StoreError
from mesh.jobs import client
from schemas.jobs import JobState
from tests.support.job_faults import Checker
from tests.support.jobs import SMALL, job_mesh, order
from tests.support.mesh import scripted_worker
from tests.support.wait import until

QUICK = replace(SMALL, answer_within=1.0)


def limit_files(broker: Broker, size: int) -> None:
    """Have every write of the server fail that makes a file larger than ``size`` bytes."""
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_a_full_disk_refuses_new_jobs_and_keeps_the_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first write that fails the door closes; with room everything accepted is computed.

    nats-server stores nothing more after such a write, whatever room there is. Its supervisor
    restarts it as soon as that helps, and not before.
    """
    monkeypatch.setattr(health, "LOOK_EVERY", 0.1)
    async with job_mesh(tmp_path, settings=QUICK, worker=False) as mesh:
        monkeypatch.setattr(health, "free_bytes", lambda _folder: 0)
        checker = Checker(mesh.jobs)
        await checker.listen(mesh.jobs._bus)
        full = mesh.broker.pid
        for number in range(20):
            await checker.submit(number)
        limit_files(mesh.broker, 1)
        with monkeypatch.context() as patch:
            patch.setattr(client, "FIRST_PATIENCE", 30.0)
            with pytest.raises(StoreError, match="disk"):
                await checker.hasty(0.0).jobs.submit(order("count 100", key="job-100"))
        assert len(checker.accepted) == 20
        for job in checker.accepted.values():
            assert (await mesh.jobs.get(job)).state is JobState.QUEUED
        assert mesh.broker.pid == full

        monkeypatch.setattr(health, "free_bytes", lambda _folder: health.ENOUGH)
        await until(lambda: mesh.broker.pid != full, within=20)
        async with scripted_worker(mesh.broker):
            await checker.submit(100)
            counts = await checker.verdict(30)
        assert counts["accepted"] == counts["succeeded"] == 21
        assert counts["refused"] == 0
