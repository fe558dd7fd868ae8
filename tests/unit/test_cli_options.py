"""Where a command's settings come from, and how mistakes in them are told."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cli.engines import model_files
from cli.jobs import ListOptions, SheetOptions
from cli.keys import KeyOptions
from cli.main import COMMANDS, build_app, main
from cli.options import (
    EngineOptions,
    LogOptions,
    UpstreamOptions,
    UsageError,
    WebhookOptions,
    WorkerOptions,
    arguments,
    flag,
    keys,
)
from cli.webhooks import webhook_settings, with_secret
from mesh.settings import Address, memory_size


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, out of reach of the user's own configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


def options(*words: str, group: str = "options") -> Any:
    """Return an option group as a command would get it."""
    _, bound, _ = build_app().parse_args(words, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    return bound.arguments[group]


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a wrong command line is answered with."""
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (2, 1)
    return said


def test_without_anything_the_default_holds() -> None:
    """A bare command listens where the documentation says."""
    assert options("gateway").http == Address("127.0.0.1", 8080)


def test_flag_beats_environment_beats_file(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source of settings gives way to the one before it."""
    (clean_place / "mesh.toml").write_text('http = "127.0.0.1:1"')
    assert options("gateway").http.port == 1
    monkeypatch.setenv("MESH_HTTP", "127.0.0.1:2")
    assert options("gateway").http.port == 2
    assert options("gateway", "--http", "127.0.0.1:3").http.port == 3


def test_a_command_s_own_section_beats_the_top_of_the_file(clean_place: Path) -> None:
    """What all commands share stands at the top, exceptions in sections."""
    (clean_place / "mesh.toml").write_text("slots = 2\n[worker]\nslots = 7\n")
    assert options("worker", group="engine").slots == 7
    assert options("up", group="engine").slots == 2


def test_a_list_in_the_environment_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable holds all values of a repeatable flag."""
    monkeypatch.setenv("MESH_MODEL_ALIAS", "gpt-4o-mini=spark, *=spark")
    assert options("gateway").model_alias == ("gpt-4o-mini=spark", "*=spark")


def test_a_default_model_is_told_in_any_of_the_ways(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag, a variable and a key of the file, like all settings; without them there is none."""
    assert options("gateway").default_model is None
    (clean_place / "mesh.toml").write_text('default-model = "a"')
    assert options("gateway").default_model == "a"
    monkeypatch.setenv("MESH_DEFAULT_MODEL", "b")
    assert options("gateway").default_model == "b"
    assert options("gateway", "--default-model", "c").default_model == "c"


def test_a_comma_in_a_single_value_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only repeatable flags are split."""
    monkeypatch.setenv("MESH_NATS", "nats://a:1,nats://b:2")
    assert options("gateway", group="bus").nats == "nats://a:1,nats://b:2"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass unset variables on as empty ones."""
    monkeypatch.setenv("MESH_UPSTREAM", "")
    monkeypatch.setenv("MESH_MODEL_MAP", "")
    assert options("worker", group="upstream") == UpstreamOptions()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["gateway", "--http", "here"], ["--http", "HOST:PORT"]),
        (["gateway", "--model-alias", "gpt"], ["--model-alias", "NAME=VALUE"]),
        (["worker", "--slots", "-1"], ["--slots"]),
        (["worker", "--gpu-layers", "some"], ["--gpu-layers", "some"]),
        (["worker", "--slots", "four"], ["--slots", "four"]),
        (["worker", "--slotz", "4"], ["--slotz", "--slots"]),
        (["worker", "--engine", "vllm"], ["--engine", "llama", "scripted"]),
        (["wroker"], ["wroker", "worker"]),
        (["--config", "nowhere.toml", "nodes"], ["nowhere.toml"]),
        (["up", "--model", "nowhere.gguf"], ["--model nowhere.gguf", "GGUF"]),
        (["up", "--engine=scripted", "--cloud-model", "a=b"], ["--cloud-url"]),
        (["up", "--engine=scripted", "--cloud-url", "example.com"], ["--cloud-url", "https://"]),
        (["cloud", "--nats=nats://127.0.0.1:1"], ["--upstream"]),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], named: list[str]
) -> None:
    """The line names the flag and what it takes; there is no traceback."""
    said = refusal(capsys, *words)
    assert [name for name in named if name not in said] == []


def test_a_wrong_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the environment is not blamed on a flag."""
    monkeypatch.setenv("MESH_SLOTS", "four")
    assert "MESH_SLOTS" in refusal(capsys, "worker")


@pytest.mark.parametrize("text", ["slotz = 4", "[worker]\nslotz = 4", 'slots = "four"', "slots ="])
def test_a_mistake_in_the_file_names_the_file(
    clean_place: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Unknown keys, wrong types and broken TOML are told with the file's path."""
    (clean_place / "mesh.toml").write_text(text)
    assert str(clean_place / "mesh.toml") in refusal(capsys, "worker")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_may_stand_at_the_top_of_the_file(command: str) -> None:
    """The list of known keys has not forgotten an option of any command."""
    found = build_app()[command].assemble_argument_collection()
    settings = {each.name.removeprefix("--") for each in found if each.name.startswith("--")}
    # What to do this once, no settings; "gateway" is another name of --gateway-url.
    this_once = {"watch", "on", "print-config", "once", "gateway"} | {
        flag(option) for kind in (KeyOptions, ListOptions, SheetOptions) for option in fields(kind)
    }
    assert settings - keys() <= this_once


def test_options_survive_the_way_to_another_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `mesh up` passes on arrives, whatever the environment says."""
    monkeypatch.setenv("MESH_SLOTS", "9")
    engine = EngineOptions(slots=3, model=("a.gguf", "b.gguf"), scripted_tps=1.5)
    log, worker = LogOptions(json_logs=False), WorkerOptions(name="w", label=("room=1",))
    words = ["worker", *arguments(engine), *arguments(log), *arguments(worker)]
    assert engine == options(*words, group="engine")
    assert log == options(*words, group="log")
    assert worker == options(*words)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("worker", "--creds=client.nk"), "edge-worker.nk"),
        (("worker", "--creds=cloud-worker.nk"), "edge-worker.nk"),
        (
            ("cloud", "--creds=edge-worker.nk", "--upstream=http://127.0.0.1:1/v1"),
            "cloud-worker.nk",
        ),
        (("gateway", "--creds=edge-worker.nk"), "gateway.nk"),
        (("gateway", "--creds=gateway.nk", "--policy=edge-only"), "edge-gateway.nk"),
        (("nodes", "--creds=edge-worker.nk"), "client.nk"),
    ],
)
def test_the_key_of_another_role_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], needed: str
) -> None:
    """A part says at once whose key it needs, instead of being denied in silence."""
    assert f"{needed} is needed" in refusal(capsys, *words, "--nats=nats://127.0.0.1:1")


def test_a_file_without_api_keys_does_not_open_the_gateway(
    clean_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty file of keys is a mistake, never the leave for anybody to ask."""
    (clean_place / "keys").write_text("# none yet\n\n")
    words = ("gateway", "--nats=nats://127.0.0.1:1", "--creds=gateway.nk", "--api-keys=keys")
    assert "holds no key" in refusal(capsys, *words)


def test_models_of_one_name_are_refused(clean_place: Path) -> None:
    """Requests name a model, so two files must not go by the same name."""
    for folder in ("a", "b"):
        (clean_place / folder).mkdir()
        (clean_place / folder / "m.gguf").touch()
    with pytest.raises(UsageError, match="two files are called m"):
        model_files(("a/m.gguf", "b/m.gguf"))


def test_a_folder_stands_for_the_models_in_it(clean_place: Path) -> None:
    """Every file counts once, and a split model by its first part alone."""
    names = ("b.gguf", "a.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "note.txt")
    for name in names:
        (clean_place / name).touch()
    found = model_files((str(clean_place), "a.gguf"))
    assert [file.name for file in found] == ["a.gguf", "b.gguf", "big-00001-of-00002.gguf"]


def test_a_folder_without_models_is_a_mistake(clean_place: Path) -> None:
    """It is told apart from a file that is not there."""
    with pytest.raises(UsageError, match=r"no \*\.gguf in this folder"):
        model_files((str(clean_place),))


def test_memory_is_a_size_or_a_share() -> None:
    """Units are binary; a share is of what is free."""
    gib = 1 << 30
    assert memory_size("8G", of=0) == 8 * gib
    assert memory_size("1.5 GiB", of=0) == gib * 3 // 2
    assert memory_size("512mb", of=0) == gib // 2
    assert memory_size("25%", of=8 * gib) == 2 * gib
    for wrong in ("", "0G", "much", "8X", "-1G", "5%%"):
        with pytest.raises(ValueError, match="such as 8G or 50%"):
            memory_size(wrong, of=gib)


def test_a_wrong_memory_is_told_in_one_line(
    clean_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag is named before anything starts."""
    assert "--memory" in refusal(capsys, "worker", "--memory=lots")


def test_a_whole_mesh_makes_its_webhook_secret_once(clean_place: Path) -> None:
    """``mesh up`` keeps it in the state folder for its owner alone; a lone runner makes none."""
    state = clean_place / "state"
    assert webhook_settings(WebhookOptions(), state) is None
    made = with_secret(WebhookOptions(), state)
    assert made.webhook_secret_file == state / "webhook-secret"
    assert made.webhook_secret_file.stat().st_mode & 0o777 == 0o600
    secret = made.webhook_secret_file.read_text()
    assert with_secret(WebhookOptions(), state) == made
    assert made.webhook_secret_file.read_text() == secret
    assert webhook_settings(WebhookOptions(), state) is not None


def test_a_wrong_webhook_setting_is_told_in_one_line(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What names no secret, no file or no network is refused before anything starts."""
    runner = ("runner", "--nats=nats://127.0.0.1:1", "--creds=runner.nk")
    assert "HOOKS is not set" in refusal(capsys, *runner, "--webhook-secret-env=HOOKS")
    monkeypatch.setenv("HOOKS", "swordfish")
    said = refusal(capsys, *runner, "--webhook-secret-env=HOOKS")
    assert "the environment variable HOOKS must hold" in said
    assert "swordfish" not in said
    assert "there is no" in refusal(capsys, *runner, "--webhook-secret-file=nowhere")
    assert "10.0.0.1/8" in refusal(capsys, *runner, "--webhook-allow=10.0.0.1/8")
