"""Which processes ``mesh up`` runs, and with which command lines; pure."""

from dataclasses import dataclass, replace

from cli.options import (
    FILES_MB,
    BudgetOptions,
    CloudOptions,
    EngineOptions,
    GatewayOptions,
    JobOptions,
    LogOptions,
    StateOptions,
    WebhookOptions,
    WorkerOptions,
    arguments,
)
from cli.supervisor import PartSettings
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.settings import Address
from schemas.inference import Policy


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the parts are told; everything that ``mesh up`` was told."""

    gateway: GatewayOptions = GatewayOptions()
    worker: WorkerOptions = WorkerOptions()
    engine: EngineOptions = EngineOptions()
    cloud: CloudOptions = CloudOptions()
    budget: BudgetOptions = BudgetOptions()
    jobs: JobOptions = JobOptions()
    webhooks: WebhookOptions = WebhookOptions()
    state: StateOptions = StateOptions()
    log: LogOptions = LogOptions()
    drain_timeout: float = 30.0
    files_mb: int = FILES_MB

    def parts(self, broker: Broker) -> list[PartSettings]:
        """Return the parts in the order of a request's way; the first stops first."""
        parts = [self._gateway(broker), self._runner(broker), self._worker(broker)]
        return [*parts, self._cloud(broker)] if self.cloud.cloud_url else parts

    def _gateway(self, broker: Broker) -> PartSettings:
        edge_only = self.gateway.policy is Policy.EDGE_ONLY
        rest = self._common(broker, Role.EDGE_GATEWAY if edge_only else Role.GATEWAY)

        def command(address: str) -> list[str]:
            http = Address.parse(address) if address else self.gateway.http
            told = [*arguments(replace(self.gateway, http=http)), *arguments(self.budget.prices)]
            return ["gateway", *told, *rest]

        return PartSettings(name="gateway", command=command, hidden=self._secrets)

    def _runner(self, broker: Broker) -> PartSettings:
        """Run both kinds of jobs in one process, over one connection each.

        A mesh that never uses the cloud has no use for the key that could.
        """
        edge_only = self.gateway.policy is Policy.EDGE_ONLY
        roles = (Role.EDGE_RUNNER,) if edge_only else (Role.RUNNER, Role.EDGE_RUNNER)
        line = [
            *(f"--runner-creds={broker.creds(role)}" for role in roles),
            f"--nats={broker.url}",
            *arguments(self.jobs),
            *arguments(self.webhooks),
            *self._life,
        ]
        return PartSettings(
            name="runner", command=lambda _: ["runner", *line], hidden=self._cloud_key
        )

    def _worker(self, broker: Broker) -> PartSettings:
        rest = [*arguments(self.engine), *self._common(broker, Role.EDGE_WORKER)]

        def command(name: str) -> list[str]:
            named = replace(self.worker, name=self.worker.name or name or None)
            return ["worker", *arguments(named), *rest]

        return PartSettings(name="worker", command=command, hidden=self._secrets)

    def _cloud(self, broker: Broker) -> PartSettings:
        options = [*arguments(self.cloud.upstream), *arguments(self.budget)]
        rest = [*options, *self._common(broker, Role.CLOUD_WORKER)]

        def command(name: str) -> list[str]:
            return ["cloud", *arguments(WorkerOptions(name=name or None)), *rest]

        return PartSettings(name="cloud", command=command, hidden=self._webhook_secret)

    def _common(self, broker: Broker, role: Role) -> list[str]:
        return [
            f"--nats={broker.url}",
            f"--creds={broker.creds(role)}",
            *self._life,
        ]

    @property
    def _life(self) -> list[str]:
        drain = f"--drain-timeout={self.drain_timeout}"
        return [drain, *arguments(self.state), *arguments(self.log)]

    @property
    def _secrets(self) -> frozenset[str]:
        """What the environment may hold that is for the cloud worker or the runner alone."""
        return self._cloud_key | self._webhook_secret

    @property
    def _cloud_key(self) -> frozenset[str]:
        return frozenset({self.cloud.cloud_key_env} if self.cloud.cloud_key_env else ())

    @property
    def _webhook_secret(self) -> frozenset[str]:
        name = self.webhooks.webhook_secret_env
        return frozenset({name} if name else ())
