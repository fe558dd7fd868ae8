"""What a check found."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but worse than it could."""
    FAIL = "fail"
    """The mesh cannot work."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the report: what was looked at, how it is, and what to do about it."""

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that needs nothing done."""
    return Finding(subject, Verdict.OK, text)


def warn(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that should be seen to."""
    return Finding(subject, Verdict.WARN, text, advice)


def fail(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that must be seen to."""
    return Finding(subject, Verdict.FAIL, text, advice)
