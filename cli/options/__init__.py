"""Every flag of every command, in groups that commands combine.

One name means one thing everywhere, because a flag is also an environment variable
(``MESH_<FLAG>``) and a key of ``mesh.toml`` that all commands read.
"""

from cli.options.broker import FILES_MB, BrokerOptions
from cli.options.clients import ChatOptions, TopOptions
from cli.options.cloud import BudgetOptions, CloudOptions, PriceOptions, UpstreamOptions
from cli.options.file import keys
from cli.options.flags import UsageError, arguments, flag, group
from cli.options.gateway import GatewayOptions
from cli.options.jobs import JobOptions, RunnerOptions, WebhookOptions
from cli.options.process import BusOptions, LifeOptions, LogOptions, OutputOptions, StateOptions
from cli.options.worker import EngineKind, EngineOptions, WorkerOptions

__all__ = [
    "FILES_MB",
    "BrokerOptions",
    "BudgetOptions",
    "BusOptions",
    "ChatOptions",
    "CloudOptions",
    "EngineKind",
    "EngineOptions",
    "GatewayOptions",
    "JobOptions",
    "LifeOptions",
    "LogOptions",
    "OutputOptions",
    "PriceOptions",
    "RunnerOptions",
    "StateOptions",
    "TopOptions",
    "UpstreamOptions",
    "UsageError",
    "WebhookOptions",
    "WorkerOptions",
    "arguments",
    "flag",
    "group",
    "keys",
]
