"""Durable jobs: how they are kept and run, and how their ends are told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, PositiveFloat, PositiveInt

from cli.options.flags import group
from cli.options.values import Networks


@group("Jobs")
@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How durable jobs are kept and run."""

    job_retention_hours: PositiveFloat = 168.0
    """Hours for which jobs that have ended are kept, with their results."""
    job_patience: NonNegativeFloat = 300.0
    """Seconds that an edge-first job waits for the edge before the cloud may compute it."""
    job_failures: PositiveInt = 5
    """Executions of a job that may fail before it is a dead letter."""
    jobs_at_once: PositiveInt = 256
    """Jobs that a runner executes at the same time, if there are idle slots."""
    job_records_mb: PositiveInt = 4096
    """Megabytes of jobs that the broker keeps; new ones are refused when 3/4 are used."""
    job_lease: PositiveFloat = 5.0
    """Seconds without a sign of life from a runner after which its jobs go to another one."""
    job_replicas: PositiveInt = 1
    """Copies that a cluster of brokers keeps of everything about jobs: 3 where there are three."""
    max_queued_jobs: PositiveInt = 1_000_000
    """Jobs that may wait on each side of the boundary; more are refused."""


@group("Runner")
@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """Which jobs to run."""

    runner_creds: Annotated[tuple[Path, ...], Parameter(negative=())] = ()
    """runner.nk, edge-runner.nk or both (repeatable); default: those of the mesh that runs here."""


@group("Webhooks")
@dataclass(frozen=True, kw_only=True)
class WebhookOptions:
    """How the ends of jobs are told to URLs."""

    webhook_secret_env: str | None = None
    """Name of the environment variable that holds the secret to sign with (whsec_…)."""
    webhook_secret_file: Path | None = None
    """File that holds it; default: webhook-secret in the state folder, made by `mesh up`. Without
    any, jobs with a webhook are refused."""
    webhook_allow: Networks = ()
    """Network that webhooks may be in besides public addresses, such as 10.1.0.0/16; repeatable."""
