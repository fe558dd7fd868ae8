"""The suites: each runs as a process of its own against the gateway, and what it says is read.

Which of a suite's parts run follows from the operations that the gateway describes, so an endpoint
that is added is tested from then on.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from xml.etree import ElementTree as ET

import aiohttp
import msgspec

from gateway.openapi import OPERATIONS
from tests.conformance.cases import Case, Verdict
from tests.conformance.exceptions import OPENAI_PYTHON
from tests.conformance.tools import Tools

PATIENCE: Final = 240.0
"""Seconds for one suite."""
SEED: Final = "1"
CONFIG: Final = Path(__file__).parent / "schemathesis.toml"
UNFIT: Final = ("positive_data_acceptance", "ignored_auth")
"""Checks that cannot hold: a schema has no words for what one field asks of another, such as
top_logprobs of logprobs; and a gateway without keys lets everybody in."""

OPENAI_TESTS: Final = MappingProxyType(
    {
        "/v1/chat/completions": (
            "chat/test_completions.py",
            "chat/completions/test_messages.py",
        ),
        "/v1/completions": ("test_completions.py",),
        "/v1/embeddings": ("test_embeddings.py",),
        "/v1/models": ("test_models.py",),
        "/v1/responses": ("test_responses.py", "responses/test_input_items.py"),
        "/v1/files": ("test_files.py",),
        "/v1/batches": ("test_batches.py",),
    }
)
COMPLY_FORMATS: Final = MappingProxyType(
    {
        "/v1/chat/completions": "openai-chat",
        "/v1/responses": "open-responses",
        "/v1/messages": "anthropic",
    }
)


class SuiteBroken(Exception):
    """A suite could not be run, or did not say how it ended."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every suite needs: the tools, the gateway's base URL, and a folder for reports."""

    tools: Tools
    url: str
    folder: Path

    @property
    def description(self) -> str:
        """Where the gateway describes itself."""
        return self.url.removesuffix("/v1") + "/openapi.json"


async def run_suites(run: Run) -> AsyncIterator[tuple[str, list[Case]]]:
    """Run all, one after the other; yields the name and the cases of each."""
    yield "openapi-spec-validator", await _validator(run)
    yield "schemathesis", await _schemathesis(run)
    yield OPENAI_PYTHON, await _openai_python(run)
    for form in _offered(COMPLY_FORMATS):
        yield f"llm-comply {form}", await _llm_comply(run, form)


def _offered(parts: "MappingProxyType[str, Any]") -> list[Any]:
    paths = {operation.path for operation in OPERATIONS}
    return [part for path, part in parts.items() if path in paths]


async def _validator(run: Run) -> list[Case]:
    copy = run.folder / "openapi.json"
    async with aiohttp.ClientSession() as session, session.get(run.description) as answer:
        copy.write_bytes(await answer.read())
    status, output = await _execute([run.tools.command("openapi-spec-validator"), str(copy)])
    verdict = Verdict.FAILED if status else Verdict.PASSED
    return [Case(name="openapi.json", verdict=verdict, detail=output)]


async def _schemathesis(run: Run) -> list[Case]:
    """Count every generated request as a case; failures come with their operation."""
    report = run.folder / "schemathesis.xml"
    _, output = await _execute(
        [
            run.tools.command("st"),
            f"--config-file={CONFIG}",
            "run",
            run.description,
            "--phases=examples,coverage",
            "--checks=all",
            f"--exclude-checks={','.join(UNFIT)}",
            f"--seed={SEED}",
            "--continue-on-failure",
            "--request-timeout=60",
            "--report=junit",
            f"--report-junit-path={report}",
        ],
        folder=run.folder,  # where it leaves notes for a next run
    )
    generated = re.search(r"(\d+) generated", output)
    if generated is None:
        raise SuiteBroken(output[-2000:])
    failed = [case for case in _junit(report) if case.verdict is Verdict.FAILED]
    passed = int(generated[1]) - len(failed)
    return [*failed, *(Case(name=f"request {i}", verdict=Verdict.PASSED) for i in range(passed))]


async def _openai_python(run: Run) -> list[Case]:
    report = run.folder / "openai.xml"
    files = [f"tests/api_resources/{name}" for names in _offered(OPENAI_TESTS) for name in names]
    options = ["-n0", "-q", "-p", "no:cacheprovider", "--tb=line", f"--junit-xml={report}"]
    _, output = await _execute(
        [run.tools.command("python"), "-m", "pytest", *options, *files],
        folder=run.tools.openai,
        TEST_API_BASE_URL=run.url,
    )
    if not report.exists():
        raise SuiteBroken(output[-2000:])
    return _junit(report)


async def _llm_comply(run: Run, form: str) -> list[Case]:
    command = [run.tools.command("llm-comply"), "--format", form, "--json"]
    _, output = await _execute([*command, "-u", run.url, "-k", "none", "-m", "spark"])
    try:
        report = msgspec.json.decode(output[output.index("{") :], type=_Complied)
    except (ValueError, msgspec.MsgspecError) as error:
        raise SuiteBroken(output[-2000:]) from error
    return [
        Case(name=row.id, verdict=Verdict(row.status), detail="; ".join(row.errors))
        for row in report.results
    ]


class _CompliedRow(msgspec.Struct):
    id: str
    status: str
    errors: list[str] = []


class _Complied(msgspec.Struct):
    results: list[_CompliedRow]


def _junit(report: Path) -> list[Case]:
    return [_junit_case(case) for case in ET.parse(report).iter("testcase")]  # noqa: S314 - ours


def _junit_case(case: ET.Element) -> Case:
    place = case.get("classname", "").removeprefix("tests.api_resources.")
    name = ".".join(part for part in (place, case.get("name", "")) if part)
    for kind, verdict in (
        ("failure", Verdict.FAILED),
        ("error", Verdict.FAILED),
        ("skipped", Verdict.SKIPPED),
    ):
        found = case.find(kind)
        if found is not None:
            return Case(name=name, verdict=verdict, detail=found.text or "")
    return Case(name=name, verdict=Verdict.PASSED)


async def _execute(
    command: Sequence[str], *, folder: Path | None = None, **variables: str
) -> tuple[int, str]:
    """Run a command to its end; return its status and all it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=_environment() | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        raise SuiteBroken(f"{Path(command[0]).name} took more than {PATIENCE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _environment() -> dict[str, str]:
    """Return the environment without what would lead suites or clients somewhere else."""
    strange = re.compile(r"PYTHON|PYTEST|OPENAI|ANTHROPIC|MESH_|.*_PROXY$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not strange.match(name)}
