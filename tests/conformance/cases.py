"""What a suite says about one case, and which failures are meant to be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """By the suite itself."""
    EXPECTED = "expected"
    """Failed, and ``exceptions.py`` says why that is right."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case of a suite; ``detail`` is what the suite says about a failure."""

    name: str
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """The cases of one suite."""

    suite: str
    cases: tuple[Case, ...]

    def count(self, verdict: Verdict) -> int:
        """Return how many cases ended so."""
        return sum(case.verdict is verdict for case in self.cases)

    @property
    def failures(self) -> tuple[Case, ...]:
        """The cases that failed and should not have."""
        return tuple(case for case in self.cases if case.verdict is Verdict.FAILED)


@dataclass(frozen=True, kw_only=True)
class Exempt:
    """Cases of a suite that may fail: those whose name the pattern matches from the start."""

    suite: str
    names: str
    reason: str

    def covers(self, suite: str, case: Case) -> bool:
        """Return whether a failure is this exception."""
        return suite == self.suite and re.match(self.names, case.name) is not None

    def excuses(self, result: SuiteResult) -> int:
        """Return how many cases it excuses of a suite that was judged."""
        covered = (case for case in result.cases if self.covers(result.suite, case))
        return sum(case.verdict is Verdict.EXPECTED for case in covered)


def judge(suite: str, cases: Sequence[Case], exempt: Sequence[Exempt]) -> SuiteResult:
    """Return a suite's result, its failures told apart from those that are meant to be."""
    return SuiteResult(suite=suite, cases=tuple(_judged(suite, case, exempt) for case in cases))


def _judged(suite: str, case: Case, exempt: Sequence[Exempt]) -> Case:
    if case.verdict is not Verdict.FAILED:
        return case
    covering = next((each for each in exempt if each.covers(suite, case)), None)
    if covering is None:
        return case
    return Case(name=case.name, verdict=Verdict.EXPECTED, detail=covering.reason)


def unused(results: Sequence[SuiteResult], exempt: Sequence[Exempt]) -> list[Exempt]:
    """Return the exceptions that no longer excuse anything, of the suites that ran."""
    excused = {
        (result.suite, case.name)
        for result in results
        for case in result.cases
        if case.verdict is Verdict.EXPECTED
    }
    ran = {result.suite for result in results}
    return [
        each
        for each in exempt
        if each.suite in ran
        and not any(suite == each.suite and re.match(each.names, name) for suite, name in excused)
    ]
