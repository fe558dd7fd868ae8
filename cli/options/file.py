"""Which keys ``mesh.toml`` may hold."""

from dataclasses import fields
from typing import Any

from cli.options.broker import BrokerOptions
from cli.options.clients import ChatOptions, TopOptions
from cli.options.cloud import BudgetOptions, CloudOptions, UpstreamOptions
from cli.options.flags import flag
from cli.options.gateway import GatewayOptions
from cli.options.jobs import JobOptions, RunnerOptions, WebhookOptions
from cli.options.process import BusOptions, LifeOptions, LogOptions, OutputOptions, StateOptions
from cli.options.worker import EngineOptions, WorkerOptions


def keys() -> frozenset[str]:
    """Return every key that ``mesh.toml`` may hold outside a command's own section."""
    groups: list[type[Any]] = [
        StateOptions, LogOptions, LifeOptions, BrokerOptions, BusOptions, EngineOptions,
        WorkerOptions, GatewayOptions, UpstreamOptions, BudgetOptions, CloudOptions, ChatOptions,
        OutputOptions, TopOptions, JobOptions, RunnerOptions, WebhookOptions,
    ]  # fmt: skip
    return frozenset(flag(item) for kind in groups for item in fields(kind))
