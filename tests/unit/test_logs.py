"""What a log line looks like, and what never gets into one."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from mesh import logs
from mesh.logs import LogFormat, LogLevel
from tests.support.logged import logging_left_alone


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    with logging_left_alone():
        yield
    structlog.contextvars.clear_contextvars()


def line(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return the one line that was logged."""
    (text,) = capsys.readouterr().err.splitlines()
    found: dict[str, str] = json.loads(text)
    return found


def test_a_line_is_a_json_object_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Machines get name, level and time with every event."""
    logs.configure()
    structlog.get_logger("mesh.test").info("started", port=1)
    found = line(capsys)
    expected = {"event": "started", "port": 1, "level": "info", "logger": "mesh.test"}
    assert expected == {key: found[key] for key in expected}
    assert found["timestamp"].endswith("Z")


def test_the_request_s_id_is_on_every_line_of_a_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is bound to the context also marks the lines of libraries."""
    logs.configure()
    structlog.contextvars.bind_contextvars(request_id="req_1")
    logging.getLogger("some.library").warning("slow %s", "disk")
    found = line(capsys)
    assert (found["request_id"], found["event"]) == ("req_1", "slow disk")


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """On request a line is plain text, even away from a terminal."""
    logs.configure(form=LogFormat.TEXT)
    structlog.get_logger("mesh.test").info("started", port=1)
    said = capsys.readouterr().err
    assert ("started" in said, "port=1" in said, said.startswith("{")) == (True, True, False)


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """The level holds for our own lines and for those of libraries."""
    logs.configure(LogLevel.WARNING)
    structlog.get_logger("mesh.test").info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert capsys.readouterr().err == ""


def test_libraries_that_repeat_us_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """The access log would say again what the gateway says itself."""
    logs.configure(LogLevel.DEBUG)
    logging.getLogger("aiohttp.access").info("GET /v1/models")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.TEXT])
def test_a_traceback_shows_no_variables(
    capsys: pytest.CaptureFixture[str], form: LogFormat
) -> None:
    """Variables and messages may hold prompts and keys; kind and place of an error are told."""
    logs.configure(form=form)

    def fail(prompt: str) -> None:
        raise RuntimeError(f"{len(prompt)} characters")

    try:
        fail("a" + " secret")  # the source line itself is in the traceback
    except RuntimeError:
        structlog.get_logger("mesh.test").exception("failed")
    said = capsys.readouterr().err
    assert ("RuntimeError" in said, "test_logs.py" in said) == (True, True)
    assert ("8 characters" in said, "a secret" in said) == (False, False)


def test_a_line_that_is_json_already_is_written_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It goes where the others go, and only where they are JSON and nobody else hears them."""
    logs.configure(form=LogFormat.JSON)
    lines = logs.json_lines()
    assert lines is not None
    lines.write(b'{"event": "ready"}')
    assert line(capsys) == {"event": "ready"}
    logging.getLogger().addHandler(logging.NullHandler())
    assert logs.json_lines() is None
    logs.configure(form=LogFormat.TEXT)
    assert logs.json_lines() is None
