"""The deployment files: valid, pinned, without root."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cli.main import COMMANDS, build_app

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path(__file__).resolve().parents[1] / "data" / "compose-spec.json"
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN",
    "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file as engines see it, with merge keys resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def services(compose: dict[str, Any], *, ours: bool) -> dict[str, Any]:
    built = {name for name, service in compose["services"].items() if "build" in service}
    return {name: s for name, s in compose["services"].items() if (name in built) is ours}


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the Dockerfile's instructions with their arguments, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield name, rest.strip()


def last(wanted: str) -> str:
    return [rest for name, rest in instructions() if name == wanted][-1]


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    """The schema of the Compose Specification accepts it."""
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []


def test_the_schema_does_refuse_mistakes(compose: dict[str, Any]) -> None:
    """A misspelt key would be noticed."""
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    wrong = compose | {"services": {"nats": {"imagen": "nats"}}}
    assert not validator.is_valid(wrong)


def test_no_container_runs_as_root(compose: dict[str, Any]) -> None:
    """Every service names an ordinary user, drops all capabilities and cannot gain any."""
    for name, service in compose["services"].items():
        user, _, group = service["user"].partition(":")
        assert min(int(user), int(group)) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name


def test_every_service_is_bounded_and_watched(compose: dict[str, Any]) -> None:
    """Memory and CPU have limits; what stays up has a health check and comes back."""
    for name, service in compose["services"].items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        if name != "keys":
            assert service["restart"] == "unless-stopped", name
        if name not in {"keys", "gateway"}:  # one ends by itself, one has the image's own check
            assert "test" in service["healthcheck"], name


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    """Neither a moving tag nor a missing one decides what runs."""
    stages = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    images = [*stages, *(service["image"] for service in compose["services"].values())]
    assert [image for image in images if not re.search(r":\d+\.\d+", image)] == []


def test_each_role_gets_its_own_credentials(compose: dict[str, Any]) -> None:
    """A container uses the key of its role, and cannot write to the folder of the keys."""
    roles = {"gateway": "gateway", "worker": "edge-worker", "cloud": "cloud-worker"}
    for name, role in roles.items():
        service = compose["services"][name]
        assert f"--creds=/creds/{role}.nk" in service["command"]
        assert "creds:/creds:ro" in service["volumes"]
    assert not any("creds" in volume for volume in compose["services"]["nats"]["volumes"])


def test_the_cloud_comes_only_on_request(compose: dict[str, Any]) -> None:
    """Without its profile nothing in the deployment knows an upstream."""
    with_profile = {name for name, s in compose["services"].items() if s.get("profiles")}
    knowing = {name for name, s in compose["services"].items() if "UPSTREAM" in str(s)}
    assert (with_profile, knowing) == ({"cloud"}, {"cloud"})


def test_every_command_line_is_one_the_program_takes(compose: dict[str, Any]) -> None:
    """The flags in compose file and Dockerfile exist."""
    lines = [s["command"] for s in services(compose, ours=True).values() if "entrypoint" not in s]
    lines.append(json.loads(last("CMD")))
    (script,) = compose["services"]["keys"]["command"]
    lines += [
        shlex.split(line.partition(">")[0])[1:]
        for line in script.splitlines()
        if line.startswith("mesh ")
    ]
    for line in lines:
        assert line[0] in COMMANDS
        build_app().parse_args(line, exit_on_error=False, print_error=False)


def test_the_image_runs_without_root() -> None:
    """The last user is an ordinary one, and nothing is installed after that."""
    names = [name for name, _ in instructions()]
    assert set(names) <= INSTRUCTIONS
    assert int(last("USER").partition(":")[0]) > 0
    assert "RUN" not in names[len(names) - 1 - names[::-1].index("USER") :]


def test_the_image_checks_its_own_health() -> None:
    """A container that hangs is noticed."""
    assert "/healthz" in last("HEALTHCHECK")


def test_what_the_image_copies_is_let_through() -> None:
    """The ignore file starts from nothing and names every source of a COPY."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        word
        for name, rest in instructions()
        if name == "COPY"
        for word in [w for w in rest.split() if not w.startswith("--")][:-1]
    }
    assert (ignored[0], copied - let_through) == ("*", set())
