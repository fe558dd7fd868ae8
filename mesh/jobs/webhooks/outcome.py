"""What a try to tell a webhook means: it knows, it is tried again, or it is given up; pure."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from msgspec.structs import replace

from schemas.jobs import JobNotice, NoticeFault, NoticeState

LONGEST_PAUSE = 3600.0
"""Seconds; a webhook that wants to be left alone for longer is not."""
FINAL = frozenset({NoticeFault.GONE, NoticeFault.FORBIDDEN})
GONE = 410


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a try; retry_after: seconds for which the webhook wants to be left alone."""

    status: int = 0
    fault: NoticeFault | None = None
    retry_after: float = 0.0


def answered(status: int, retry_after: str | None, now_ms: int) -> Outcome:
    """Return what an answer means; ``retry_after``: its header of that name."""
    if 200 <= status < 300:
        return Outcome(status=status)
    if status == GONE:
        return Outcome(status=status, fault=NoticeFault.GONE)
    wanted = _seconds(retry_after or "", now_ms)
    return Outcome(status=status, fault=NoticeFault.STATUS, retry_after=wanted)


def judge(tries: int, outcome: Outcome, now_ms: int, pauses: tuple[float, ...]) -> JobNotice:
    """Return the notice after so many tries; one that is pending is due at its ``next_ms``."""
    tried = JobNotice(tries=tries, status=outcome.status, fault=outcome.fault, tried_ms=now_ms)
    if outcome.fault is None:
        return replace(tried, state=NoticeState.DELIVERED)
    if outcome.fault in FINAL or tries > len(pauses):
        return replace(tried, state=NoticeState.GIVEN_UP)
    pause = min(max(pauses[tries - 1], outcome.retry_after), LONGEST_PAUSE)
    return replace(tried, next_ms=now_ms + round(pause * 1000))


def _seconds(text: str, now_ms: int) -> float:
    """Read a ``Retry-After``: seconds, or a date; 0 for anything else."""
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):
        return 0.0
