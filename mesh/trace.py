"""W3C trace context: which trace a request belongs to, and the span that asks for the next one.

Source: https://www.w3.org/TR/trace-context/ (level 1, and the random flag of level 2). A header
that breaks a rule is dropped as a whole, its ``tracestate`` with it, and a new trace begins.
"""

import random
import re
from typing import Final, NamedTuple, Self

SAMPLED: Final = 0x01
"""Flag: whoever wrote the header may have recorded the span."""
RANDOM: Final = 0x02
"""Flag: the right half of the trace id is random."""
MAX_STATE: Final = 512
"""Characters of a ``tracestate`` that is passed on; a longer one is dropped."""

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_STATE: Final = re.compile(r"[\t\x20-\x7e]*")


class TraceContext(NamedTuple):
    """One span of one trace: 32 and 16 lower-case hexadecimal digits, and the flags."""

    trace_id: str
    span_id: str
    flags: int = RANDOM

    @classmethod
    def parse(cls, header: str) -> Self | None:
        """Return what a ``traceparent`` says, ``None`` if it is not valid."""
        found = _FORM.fullmatch(header.strip(" \t"))
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        # Later versions may add fields at the end, and the first does not.
        if version == "ff" or (version == "00" and rest is not None):
            return None
        if trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return None
        return cls(trace_id, span_id, int(flags, 16) & (SAMPLED | RANDOM))

    @classmethod
    def new(cls) -> Self:
        """Return the first span of a trace that nobody has recorded yet."""
        return cls(f"{random.getrandbits(128) or 1:032x}", _span_id())

    def child(self) -> Self:
        """Return a new span of the same trace."""
        return type(self)(self.trace_id, _span_id(), self.flags)

    @property
    def header(self) -> str:
        """The value of ``traceparent`` for whoever is asked next."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def clean_state(tracestate: str) -> str:
    """Return a ``tracestate`` as it is passed on, empty if it could not be put into a header."""
    return tracestate if len(tracestate) <= MAX_STATE and _STATE.fullmatch(tracestate) else ""


def _span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"
