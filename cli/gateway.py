"""``mesh gateway``: the OpenAI surface over HTTP, and the plain-NATS service beside it."""

import functools
from pathlib import Path

import structlog

from cli.bus import bus_settings
from cli.doorway import Sharing
from cli.gateways import Family
from cli.gateways import serve as serve_family
from cli.life import Stop, run_role
from cli.listeners import check_listener
from cli.options import (
    BusOptions,
    GatewayOptions,
    LifeOptions,
    LogOptions,
    PriceOptions,
    StateOptions,
    UsageError,
)
from cli.readiness import Announcer
from gateway.aliases import Aliases
from gateway.app import build_app, serving
from gateway.auth import ApiKey, Gatekeeper
from gateway.bus_requests import BUS_REQUESTS
from gateway.chats.store import chats_at
from gateway.gossip import Gossip
from gateway.headers import limit_policy
from gateway.keyring import Keyring
from gateway.prices import Prices
from gateway.problems import Forbidden
from gateway.quotas import Quotas
from gateway.responses.store import store_at
from gateway.settings import MEBIBYTE, GatewaySettings
from gateway.spending import Spending
from mesh.accounts import Role
from mesh.background import background
from mesh.bus import BusSettings, connect
from mesh.errors import InvalidRequest
from mesh.fleet import Fleet
from mesh.housekeeping import look_less_often
from mesh.placement import Limits
from mesh.router import Router, RouterSettings
from mesh.service import InferService
from mesh.settings import Address
from mesh.tracing import tracing
from schemas.inference import Policy

log = structlog.get_logger("mesh.gateway")


def gateway(
    *,
    options: GatewayOptions = GatewayOptions(),
    prices: PriceOptions = PriceOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Run the HTTP gateway: OpenAI clients need nothing but its base URL."""
    if options.gateway_processes > 1:
        family = Family(gateway=options, prices=prices, bus=bus, state=state, life=life, log=log)
        run_role(functools.partial(serve_family, family, Sharing.here()), life, log)
        return
    role = Role.EDGE_GATEWAY if options.policy is Policy.EDGE_ONLY else Role.GATEWAY
    way = bus_settings(bus, state.state, role, "mesh-gateway")
    serve = functools.partial(_serve, way, _settings(options, prices, life), _routing(options))
    run_role(serve, life, log)


def _settings(options: GatewayOptions, prices: PriceOptions, life: LifeOptions) -> GatewaySettings:
    return GatewaySettings(
        host=options.http.host,
        port=options.http.port,
        descriptor=options.http_fd,
        aliases=Aliases.parse(options.model_alias, options.default_model),
        keys=_keys(options.api_keys),
        open=options.open,
        policy=options.policy,
        default_deadline_ms=options.default_deadline_ms,
        drain_timeout=life.drain_timeout,
        response_ttl=options.response_days * 24 * 3600,
        max_file=options.max_file_mb * MEBIBYTE,
        max_batch_lines=options.batch_lines,
        max_open_batches=options.open_batches,
        batch_ttl=options.batch_days * 24 * 3600,
        prices=Prices(
            usd_per_million_in=prices.usd_per_million_in,
            usd_per_million_out=prices.usd_per_million_out,
        ),
        access_log=options.access_log,
        dashboard=options.dashboard,
    )


def _routing(options: GatewayOptions) -> RouterSettings:
    return RouterSettings(
        default_deadline=options.default_deadline_ms / 1000,
        max_wait=options.max_wait,
        limits=Limits(queue_threshold=options.queue_threshold, queue_limit=options.queue_limit),
    )


def _keys(file: Path | None) -> tuple[ApiKey, ...]:
    """Return the keys in a file; errors name the line and never its text."""
    if file is None:
        return ()
    try:
        lines = file.expanduser().read_text().splitlines()
    except OSError as error:
        raise UsageError(f"--api-keys {file}: {error.strerror}") from error
    keys = tuple(
        _key(file, number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )
    if not keys:  # No keys would mean that anybody may ask, which a file of keys never means.
        raise UsageError(f"--api-keys {file}: holds no key")
    return keys


def _key(file: Path, number: int, line: str) -> ApiKey:
    try:
        return ApiKey.parse(line)
    except ValueError as error:
        raise UsageError(f"--api-keys {file}, line {number}: {error}") from None


async def _serve(
    way: BusSettings,
    settings: GatewaySettings,
    routing: RouterSettings,
    announcer: Announcer,
    stop: Stop,
) -> None:
    if settings.descriptor is None:
        await check_listener("--http", Address(settings.host, settings.port))
    gatekeeper = Gatekeeper(settings.keys, open=settings.is_open)
    async with (
        tracing("mesh-gateway") as tracer,
        connect(way) as bus,
        background(Keyring(bus, gatekeeper).run),
    ):
        _check_keys(settings, gatekeeper)
        fleet = Fleet()
        router = Router(bus, fleet, routing, tracer=tracer)
        spending = Spending(bus)
        quotas = Quotas(fleet, spending)
        app = build_app(
            router,
            fleet,
            settings,
            gatekeeper=gatekeeper,
            quotas=quotas,
            responses=await store_at(bus),
            chats=await chats_at(bus),
            bus=bus,
            tracer=tracer,
        )
        cap = functools.partial(_cap, settings.policy)
        service = InferService(bus, router, cap, app[BUS_REQUESTS].follow)
        runs = (spending.run, Gossip(bus, quotas).run, router.run, service.run)
        async with background(*runs), serving(app, settings) as address:
            look_less_often()
            announcer.ready(address.url, f"{address.host}:{address.port}")
            await stop.asked.wait()
            announcer.stopping()


def _check_keys(settings: GatewaySettings, gatekeeper: Gatekeeper) -> None:
    """Raise ``UsageError`` rather than let other machines in without anybody having said so."""
    if gatekeeper.has_keys or settings.is_open or settings.open is not None:
        return
    where = Address(settings.host, settings.port)
    raise UsageError(
        f"--http {where}: other machines could ask without an API key, since there is none: make "
        "one with `mesh keys create` while the mesh runs on loopback, or with --no-open, which "
        "refuses everybody until then; give --api-keys FILE; or say --open to let everybody in"
    )


def _cap(limit: Policy, asked: Policy) -> Policy:
    """Hold plain NATS clients to the same policy as HTTP ones, in the bus's own terms."""
    try:
        return limit_policy(asked, limit)
    except Forbidden as error:
        raise InvalidRequest(error.message, param="policy") from None
