"""All suites against one gateway, from the installation to the table."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from tests.conformance.cases import Exempt, SuiteResult, Verdict, judge, unused
from tests.conformance.exceptions import EXCEPTIONS
from tests.conformance.suites import Run, run_suites
from tests.conformance.target import target
from tests.conformance.tools import Tools, install

BUILD: Final = Path(__file__).parents[2] / "build" / "conformance"
LONGEST: Final = 600
"""Characters of what a suite says about a failure."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What all suites say."""

    results: tuple[SuiteResult, ...]
    idle: tuple[Exempt, ...]
    """Exceptions that excuse nothing any more."""

    @property
    def unexpected(self) -> list[str]:
        """What is not as it should be, one text each; empty if all is well."""
        failed = [
            f"{result.suite}: {case.name}: {case.detail.strip()[:LONGEST]}"
            for result in self.results
            for case in result.failures
        ]
        empty = [f"{result.suite}: ran no case" for result in self.results if not result.cases]
        return [*failed, *empty, *(f"{each.suite}: {each.names} passes now" for each in self.idle)]


def conduct(console: Console) -> Report:
    """Install what is needed, start a gateway, and run every suite against it."""
    tools = install(BUILD, console)
    return uvloop.run(_run(tools, console))


async def _run(tools: Tools, console: Console) -> Report:
    results = []
    with tempfile.TemporaryDirectory(prefix="mesh-conformance-") as folder:
        async with target(Path(folder)) as url:
            run = Run(tools=tools, url=url, folder=Path(folder))
            began = time.monotonic()
            async for suite, cases in run_suites(run):
                results.append(judge(suite, cases, EXCEPTIONS))
                console.print(f"{suite}: {time.monotonic() - began:.1f} s", highlight=False)
                began = time.monotonic()
    return Report(results=tuple(results), idle=tuple(unused(results, EXCEPTIONS)))


def show(report: Report, console: Console) -> None:
    """Print the table, the reasons of what is expected to fail, and what is not as it should be."""
    table = Table("suite")
    for verdict in Verdict:
        table.add_column(verdict.value, justify="right")
    for result in report.results:
        table.add_row(result.suite, *(str(result.count(verdict)) for verdict in Verdict))
    console.print(table)
    for each in EXCEPTIONS:
        count = sum(each.excuses(result) for result in report.results)
        text = f"expected: {each.suite}, {count}: {each.reason}"
        console.print(text, style="dim", highlight=False)
    for problem in report.unexpected:
        console.print(problem, style="red", highlight=False, markup=False)
