"""The suites of others pass, but for the failures that are meant to be."""

import pytest
from rich.console import Console

from tests.conformance.cases import Case, Exempt, Verdict, judge, unused
from tests.conformance.conduct import conduct, show


@pytest.mark.timeout(600)  # the first time, the suites are installed
def test_other_peoples_suites_find_nothing_unexpected() -> None:
    """schemathesis, OpenAI's own tests and llm-comply agree with the gateway."""
    console = Console()
    report = conduct(console)
    show(report, console)

    assert report.unexpected == []


def test_a_failure_is_excused_by_suite_and_name() -> None:
    """An exception covers the cases it names in its suite, and says when it covers none."""
    exempt = (
        Exempt(suite="one", names="a.*", reason="meant"),
        Exempt(suite="one", names="z", reason="gone"),
        Exempt(suite="absent", names="z", reason="not run"),
    )
    cases = [Case(name=name, verdict=Verdict.FAILED) for name in ("abc", "b")]

    one, two = judge("one", cases, exempt), judge("two", cases, exempt)

    assert [case.verdict for case in one.cases] == [Verdict.EXPECTED, Verdict.FAILED]
    assert [case.name for case in two.failures] == ["abc", "b"]
    assert unused([one, two], exempt) == [exempt[1]]
