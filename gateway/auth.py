"""API keys: who is asking, and how far their requests may travel.

Only SHA-256 digests are kept, so that neither a settings file nor a memory dump holds a key.
API keys are long and random, so a plain digest is enough: there is nothing to guess.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.problems import Unauthorized
from schemas.inference import Policy

DEFAULT_TENANT: Final = "default"
_HASHED: Final = "sha256:"
_BEARER: Final = "bearer "


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One key: its digest, whose it is, and the widest policy it may ask for."""

    digest: str
    tenant: str = DEFAULT_TENANT
    policy: Policy = Policy.EDGE_FIRST

    @classmethod
    def parse(cls, text: str) -> "ApiKey":
        """Read ``[TENANT=]KEY[@POLICY]``, the key plain or as ``sha256:HEX``.

        Raises ``ValueError`` without repeating the text, which may hold the key.
        """
        rest, at, policy = text.strip().rpartition("@")
        if not at:
            rest, policy = policy, Policy.EDGE_FIRST.value
        tenant, equals, key = rest.partition("=")
        if not equals:
            tenant, key = DEFAULT_TENANT, rest
        if policy not in set(Policy) or not tenant or not key:
            raise ValueError("an API key is written [TENANT=]KEY[@POLICY]")
        return cls(digest=_digest_of(key), tenant=tenant, policy=Policy(policy))


def _digest_of(key: str) -> str:
    if not key.startswith(_HASHED):
        return digest(key)
    hexadecimal = key.removeprefix(_HASHED).lower()
    if len(hexadecimal) != 2 * sha256().digest_size or not _is_hex(hexadecimal):
        raise ValueError("a hashed API key is sha256: and 64 hexadecimal digits")
    return hexadecimal


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")


def digest(key: str) -> str:
    """Return the digest under which a key is kept."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    tenant: str = DEFAULT_TENANT
    policy: Policy = Policy.EDGE_FIRST


def credentials(headers: Mapping[str, str]) -> str | None:
    """Return the ``Authorization`` header, or Anthropic's ``x-api-key`` as if it were one."""
    authorization, key = headers.get("Authorization"), headers.get("x-api-key")
    if authorization is None and key is not None:
        return f"Bearer {key}"
    return authorization


class Gatekeeper:
    """Tells callers by their API key; without any keys everybody is the default tenant."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = [(key.digest, Caller(tenant=key.tenant, policy=key.policy)) for key in keys]
        self._anybody = Caller()

    def identify(self, authorization: str | None) -> Caller:
        """Return the caller an ``Authorization`` header proves; raises ``Unauthorized``."""
        if not self._keys:
            return self._anybody
        if authorization is None or not authorization[: len(_BEARER)].lower() == _BEARER:
            raise Unauthorized(
                "Send your API key in the header: Authorization: Bearer KEY, or x-api-key: KEY"
            )
        caller = self._find(digest(authorization[len(_BEARER) :].strip()))
        if caller is None:
            raise Unauthorized("This API key is not known here.")
        return caller

    def _find(self, presented: str) -> Caller | None:
        """Compare with every key, each in constant time, so that timing tells nothing."""
        found = None
        for known, caller in self._keys:
            if hmac.compare_digest(known, presented):
                found = caller
        return found
