"""Making what the broker stores for jobs, with the admin's key."""

from cli.options import JobOptions
from cli.runner import job_settings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.bus import BusSettings, connect
from mesh.jobs.store import ensure


async def prepare_jobs(broker: Broker, options: JobOptions) -> None:
    """Make the buckets of jobs at a broker that has just come up, or give them these sizes."""
    way = BusSettings(url=broker.url, creds=broker.creds(Role.ADMIN), role=Role.ADMIN)
    async with connect(way) as bus:
        await ensure(bus, job_settings(options))
