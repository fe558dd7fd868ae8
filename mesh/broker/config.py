"""From settings and public keys to nats-server's configuration; pure.

The server's format is a superset of JSON, so the text is JSON under a comment: quoting is nobody's
problem then.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh import subjects
from mesh.accounts import (
    ADMIN_STORAGE,
    EDGE_JOBS,
    EXPORTED,
    GATEWAY_ACCOUNTS,
    GATEWAY_STORAGE,
    RUNNER_STORAGE,
    Account,
    Role,
    all_work,
    grant,
    inbox_prefix,
)
from mesh.broker.settings import BrokerSettings
from mesh.storage import Service

_HEADER = "# The broker of an inference mesh. Rendered anew at every start: edits here are lost.\n"
_SERVED = (*GATEWAY_STORAGE, *RUNNER_STORAGE)
_HOME = [Account.STORE]
_SIGN_IN_TIMEOUT = 10
"""Seconds for a client on a busy machine to sign the server's challenge (default 2)."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What ties a configuration to one machine.

    port: 0 lets the server choose, and write its choice to a file in ``ports_folder``. store:
    JetStream makes its own ``jetstream`` folder there. name: empty lets the server make one up.
    """

    host: str
    port: int
    store: Path
    name: str = ""
    ports_folder: Path | None = None


def render(settings: BrokerSettings, keys: Mapping[Role, str], place: Place | None = None) -> str:
    """Return the configuration file; without a place it names no path, address or port."""
    jetstream: dict[str, Any] = {
        "max_memory_store": settings.jetstream_memory,
        "max_file_store": settings.jetstream_disk,
    }
    if place:
        jetstream["store_dir"] = str(place.store)
    document = {
        **(_place(place) if place else {}),
        "ping_interval": _duration(settings.ping_interval),
        "ping_max": settings.ping_max,
        "max_payload": settings.max_payload,
        "max_pending": settings.max_pending,
        "write_deadline": _duration(settings.write_deadline),
        "authorization": {"timeout": _SIGN_IN_TIMEOUT},
        "jetstream": jetstream,
        "system_account": Account.SYS,
        "accounts": {account: _account(account, settings, keys) for account in Account},
    }
    return _HEADER + json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _place(place: Place) -> dict[str, Any]:
    address: dict[str, Any] = {"host": place.host, "port": place.port or -1}
    if place.name:
        address["server_name"] = place.name
    if place.ports_folder:
        address["ports_file_dir"] = str(place.ports_folder)
    return address


def _account(
    account: Account, settings: BrokerSettings, keys: Mapping[Role, str]
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "users": [
            {"nkey": key, "permissions": _permissions(role, settings)}
            for role, key in keys.items()
            if grant(role).account is account
        ]
    }
    match account:
        case Account.EDGE:
            usage = _usage_export(to=Account.APP)
            exports = [*_exports(account, settings), *_JOB_EXPORTS, usage]
            imports = [_usage_import(Account.APP), *_storage_imports(_SERVED)]
            content |= {"jetstream": "enabled", "exports": exports, "imports": imports}
        case Account.CLOUD:
            content |= {"exports": _exports(account, settings)}
        case Account.APP:
            tiers = [item for source in EXPORTED for item in _imports(source)]
            usage = _usage_import(Account.EDGE)
            imports = [*tiers, *_JOB_IMPORTS, usage, *_storage_imports(_SERVED)]
            content |= {"jetstream": "enabled", "imports": imports}
            content |= {"exports": [_usage_export(to=Account.EDGE)]}
        case Account.STORE:
            content |= {"jetstream": "enabled", "exports": _storage_exports()}
            content |= {"imports": _storage_imports(ADMIN_STORAGE)}
        case Account.SYS:
            pass
    return content


def _permissions(role: Role, settings: BrokerSettings) -> dict[str, Any]:
    granted = grant(role)
    permissions: dict[str, Any] = {
        "publish": {"allow": granted.publish},
        "subscribe": {"allow": [*granted.subscribe, f"{inbox_prefix(role)}.>"]},
    }
    if granted.responds:
        answer = {"max": -1, "expires": _duration(settings.longest_answer)}
        permissions["allow_responses"] = answer
    return permissions


def _exports(account: Account, settings: BrokerSettings) -> list[dict[str, Any]]:
    """Return the work and the adverts of a tier; an answer is many frames, hence a stream."""
    work = {
        "service": all_work(EXPORTED[account]),
        "response_type": "stream",
        "response_threshold": _duration(settings.longest_silence),
        "accounts": [Account.APP],
    }
    adverts = {"stream": subjects.all_capacity(EXPORTED[account]), "accounts": [Account.APP]}
    return [work, adverts]


def _imports(source: Account) -> list[dict[str, Any]]:
    work = {"account": source, "subject": all_work(EXPORTED[source])}
    adverts = {"account": source, "subject": subjects.all_capacity(EXPORTED[source])}
    return [{"service": work}, {"stream": adverts}]


_JOB_EXPORTS = (
    {"service": EDGE_JOBS, "accounts": [Account.APP]},
    {"stream": subjects.ALL_JOB_EVENTS, "accounts": [Account.APP]},
)
_JOB_IMPORTS = (
    {"service": {"account": Account.EDGE, "subject": EDGE_JOBS}},
    {"stream": {"account": Account.EDGE, "subject": subjects.ALL_JOB_EVENTS}},
)


def _usage_export(to: Account) -> dict[str, Any]:
    """Return the one subject that crosses both ways: on it, gateways tell counts of keys.

    A stream, so that no answer crosses: the reply subject of a message that was passed on is one of
    the hearer's own account, wherever it led in the teller's.
    """
    return {"stream": subjects.USAGE, "accounts": [to]}


def _usage_import(source: Account) -> dict[str, Any]:
    told = {"account": source, "subject": subjects.USAGE}
    return {"stream": told, "to": subjects.usage_from(source)}


def _storage_exports() -> list[dict[str, Any]]:
    exports = []
    for service in dict.fromkeys((*_SERVED, *ADMIN_STORAGE)):
        answers = {"response_type": "stream"} if service.many else {}
        accounts = [
            *(GATEWAY_ACCOUNTS if service in _SERVED else ()),
            *(_HOME if service in ADMIN_STORAGE else ()),
        ]
        exports.append({"service": service.subject, "accounts": accounts, **answers})
    return exports


def _storage_imports(services: Iterable[Service]) -> list[dict[str, Any]]:
    imports = []
    for service in services:
        name = {"to": service.alias} if service.alias else {}
        source = {"account": Account.STORE, "subject": service.subject}
        imports.append({"service": source, **name})
    return imports


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
