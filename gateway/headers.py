"""Headers of the mesh: what steers a request (deadline, policy), what tells of its route."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from multidict import MultiMapping

from gateway.auth import Caller
from gateway.problems import BadRequest, Forbidden
from mesh.answer import Route
from mesh.router import LONGEST_DEADLINE
from mesh.trace import TraceContext, clean_state
from schemas.inference import Policy

DEADLINE: Final = "x-mesh-deadline-ms"
POLICY: Final = "x-mesh-policy"
UNSTORED: Final = "x-mesh-not-stored"
"""Why an answer was not stored that should have been."""
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
CLIENT_TIMEOUTS: Final = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Where the OpenAI SDKs tell their own timeout, in seconds: python, then node."""

MAX_DEADLINE_MS: Final = int(LONGEST_DEADLINE * 1000)
LONGEST_HINT: Final = 24 * 3600.0
"""Seconds; a client's timeout beyond that means that it has none."""


def deadline_ms(headers: Mapping[str, str], default: int) -> int:
    """Return the milliseconds the request has; raises ``BadRequest`` for nonsense.

    A client's own timeout is a hint only: what cannot be read of it is passed over.
    """
    if DEADLINE in headers:
        return exact_deadline_ms(headers, default)
    for name in CLIENT_TIMEOUTS:
        hint = headers.get(name)
        if hint is not None:
            return _hinted_deadline(hint, default)
    return default


def exact_deadline_ms(headers: Mapping[str, str], default: int) -> int:
    """Return the milliseconds that the mesh's own header gives; raises ``BadRequest``.

    For work that goes on when its client has stopped waiting, whose timeout then means nothing.
    """
    asked = headers.get(DEADLINE)
    return default if asked is None else _exact_deadline(asked)


def _exact_deadline(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        value = int(text)
        if 1 <= value <= MAX_DEADLINE_MS:
            return value
    raise BadRequest(
        f"{DEADLINE} is a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}.",
        param=DEADLINE,
    )


def _hinted_deadline(text: str, default: int) -> int:
    try:
        seconds = float(text)
    except ValueError:
        return default
    if not 0 < seconds <= LONGEST_HINT:
        return default
    return max(1, int(min(seconds * 1000, MAX_DEADLINE_MS)))


def policy(headers: Mapping[str, str], caller: Caller, gateway: Policy) -> Policy:
    """Return the policy asked for, within what the key and the gateway allow.

    Raises ``BadRequest`` for an unknown policy, ``Forbidden`` for one that contradicts a limit.
    """
    text = headers.get(POLICY)
    asked = Policy.EDGE_FIRST if text is None else _parse_policy(text)
    return limit_policy(limit_policy(asked, caller.policy), gateway)


def _parse_policy(text: str) -> Policy:
    try:
        return Policy(text)
    except ValueError:
        raise BadRequest(f"{POLICY} is one of {', '.join(Policy)}.", param=POLICY) from None


def limit_policy(asked: Policy, limit: Policy) -> Policy:
    """Return the narrower of two policies; raises ``Forbidden`` when they share no tier."""
    if limit in (Policy.EDGE_FIRST, asked):
        return asked
    if asked is Policy.EDGE_FIRST:
        return limit
    raise Forbidden(f"The policy {asked} is not allowed here: the limit is {limit}.", param=POLICY)


def trace_of(headers: MultiMapping[str]) -> TraceContext | None:
    """Return the caller's span, ``None`` if it names none, or names it wrongly or twice."""
    if TRACEPARENT not in headers:
        return None
    told = headers.getall(TRACEPARENT)
    return TraceContext.parse(told[0]) if len(told) == 1 else None


def state_of(headers: MultiMapping[str]) -> str:
    """Return the ``tracestate`` to pass on; it means nothing without a valid ``traceparent``."""
    if TRACESTATE not in headers or trace_of(headers) is None:
        return ""
    return clean_state(",".join(headers.getall(TRACESTATE)))


def of_route(route: Route | None) -> dict[str, str]:
    """Return the headers that tell which worker answered, as far as that is known."""
    if route is None:
        return {}
    told = {"x-mesh-tier": route.tier.value, "x-mesh-worker": _header_safe(route.worker)}
    if route.fallback is not None:
        told["x-mesh-fallback"] = str(route.fallback)
    return told


def _header_safe(name: str) -> str:
    """Percent-encode a name that a header cannot carry; workers choose their own names."""
    return name if name.isascii() and name.isprintable() else quote(name)
