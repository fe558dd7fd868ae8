import json
from pathlib import Path
from typing import Any

import pytest

from mesh.accounts import (
    ADMIN_STORAGE,
    EDGE_JOBS,
    GATEWAY_STORAGE,
    RUNNER_STORAGE,
    Account,
    Role,
    grant,
    inbox_prefix,
)
from mesh.broker import BrokerError, BrokerSettings, Place, render

KEYS = {role: f"U{role.name}" for role in Role}
SETTINGS = BrokerSettings(state=Path("/somewhere"))
PLACE = Place(host="127.0.0.1", port=4222, store=Path("/store"))


def parsed(settings: BrokerSettings = SETTINGS, place: Place | None = None) -> dict[str, Any]:
    comment, _, document = render(settings, KEYS, place).partition("\n")
    assert comment.startswith("# ")
    config: dict[str, Any] = json.loads(document)
    return config


def users(account: Account) -> dict[str, Any]:
    return {user["nkey"]: user["permissions"] for user in parsed()["accounts"][account]["users"]}


def test_a_portable_config_names_no_machine() -> None:
    """Without a place there is no address, name or path in the configuration."""
    assert "/" not in render(SETTINGS, KEYS).partition("\n")[2]
    assert parsed().keys().isdisjoint({"host", "port", "server_name", "ports_file_dir"})


def test_a_place_is_written_out() -> None:
    """A place sets address and folders, and leaves everything else as it is."""
    config = parsed(place=PLACE)
    assert (config.pop("host"), config.pop("port")) == ("127.0.0.1", 4222)
    assert config["jetstream"].pop("store_dir") == "/store"
    assert config == parsed()


def test_port_zero_is_the_servers_choice() -> None:
    """Port 0 becomes -1, which is how nats-server is told to choose."""
    assert parsed(place=Place(host="h", port=0, store=Path("/s")))["port"] == -1


def test_limits_come_from_the_settings() -> None:
    """Pings, sizes and deadlines are those of the settings."""
    config = parsed(BrokerSettings(state=Path("/s"), ping_interval=0.5, max_payload=1))
    assert (config["ping_interval"], config["max_payload"]) == ("500ms", 1)


def test_every_role_is_one_user() -> None:
    """Each role's key appears once, in the role's account."""
    assert sorted(key for account in Account for key in users(account)) == sorted(KEYS.values())
    for role in Role:
        assert KEYS[role] in users(grant(role).account)


def imports(account: Account) -> set[tuple[str, str]]:
    """Return what an account imports, each with the account it comes from."""
    entries = parsed()["accounts"][account].get("imports", [])
    items = (entry.get("service") or entry["stream"] for entry in entries)
    return {(item["account"], item["subject"]) for item in items}


SERVED = (*GATEWAY_STORAGE, *RUNNER_STORAGE)
STORAGE = {(Account.STORE, service.subject) for service in SERVED}
LEADERS = {(Account.STORE, service.subject) for service in ADMIN_STORAGE}
COUNTS = "mesh.v1.usage"


def test_only_app_imports_work() -> None:
    """The edge imports storage and counts, the cloud nothing at all; APP reaches both tiers."""
    assert imports(Account.EDGE) == {*STORAGE, (Account.APP, COUNTS)}
    assert {account for account, _ in imports(Account.APP) - STORAGE} == {"EDGE", "CLOUD"}
    assert not imports(Account.CLOUD) | imports(Account.SYS)
    assert imports(Account.STORE) == LEADERS


@pytest.mark.parametrize("account", [Account.EDGE, Account.CLOUD])
def test_exports_are_for_app_alone(account: Account) -> None:
    """Work (answered by many frames) and adverts are exported, to APP only."""
    exports = parsed()["accounts"][account]["exports"]
    work = exports[0]
    assert all(export["accounts"] == [Account.APP] for export in exports)
    assert work["response_type"] == "stream"


def test_app_exports_counts_and_nothing_else() -> None:
    """One subject without a wildcard, as a stream, to the edge alone."""
    assert parsed()["accounts"][Account.APP]["exports"] == [
        {"stream": COUNTS, "accounts": ["EDGE"]}
    ]


@pytest.mark.parametrize(
    ("account", "source"), [(Account.EDGE, Account.APP), (Account.APP, Account.EDGE)]
)
def test_counts_arrive_under_a_subject_of_their_own(account: Account, source: Account) -> None:
    """It is none that is exported, and the broker alone may write it: no circle, and no forgery."""
    (counts,) = [
        entry
        for entry in parsed()["accounts"][account]["imports"]
        if entry.get("stream") == {"account": source, "subject": COUNTS}
    ]
    assert counts["to"] == f"{COUNTS}.{source.lower()}"
    exported = [export.get("stream") for export in parsed()["accounts"][account]["exports"]]
    assert counts["to"] not in exported
    writers = [role for role in Role if counts["to"] in grant(role).publish]
    assert writers == []


def test_edge_only_jobs_go_in_and_not_out() -> None:
    """What APP imports of the edge's jobs is the way in and the news, nothing of JetStream."""
    jobs = {(of, subject) for of, subject in imports(Account.APP) if ".jobs." in subject}
    assert jobs == {("EDGE", EDGE_JOBS), ("EDGE", "mesh.v1.jobs.events.*.*")}
    assert not any("$JS" in subject for of, subject in imports(Account.APP) if of == "EDGE")


def test_storage_is_for_gateways_and_runners_alone() -> None:
    """What they do with the store is exported to their accounts, subject by subject."""
    exports = parsed()["accounts"][Account.STORE]["exports"]
    abroad = [export for export in exports if export["accounts"] != [Account.STORE]]
    assert [export["service"] for export in abroad] == [service.subject for service in SERVED]
    assert all(set(export["accounts"]) - {Account.STORE} == {"EDGE", "APP"} for export in abroad)


@pytest.mark.parametrize("account", [Account.STORE, Account.EDGE, Account.APP])
def test_leaders_are_asked_by_names_of_our_own(account: Account) -> None:
    """JetStream's interface is imported under other names: each account has its own under that."""
    entries = parsed()["accounts"][account]["imports"]
    services = {
        entry["service"]["subject"]: entry.get("to") for entry in entries if "service" in entry
    }
    leaders = {subject: name for subject, name in services.items() if ".STREAM." in subject}
    assert leaders
    assert all(name and name.startswith("mesh.v1.stored.") for name in leaders.values())
    operations = {subject.removeprefix("$JS.API.STREAM.").rpartition(".")[0] for subject in leaders}
    assert operations == {"INFO", "MSG.GET"}


@pytest.mark.parametrize("role", Role)
def test_inboxes_are_private(role: Role) -> None:
    """A role may listen on its own inboxes and on no others'."""
    allowed = users(grant(role).account)[KEYS[role]]["subscribe"]["allow"]
    inboxes = [subject for subject in allowed if "INBOX" in subject or subject[0] in ">*"]
    assert inboxes == [f"{inbox_prefix(role)}.>"]


@pytest.mark.parametrize("role", Role)
def test_only_those_who_are_asked_respond(role: Role) -> None:
    """Workers, gateways and runners may publish to the reply subjects they are given."""
    permissions = users(grant(role).account)[KEYS[role]]
    assert ("allow_responses" in permissions) == role.value.endswith(
        ("worker", "gateway", "runner")
    )


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_ports_are_refused(port: int) -> None:
    """A port that cannot exist is named in the error."""
    with pytest.raises(BrokerError, match=str(port)):
        BrokerSettings(state=Path("/s"), port=port)
