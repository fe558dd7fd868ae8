"""Who is asking, and what that allows: callers are told by their API key.

Keys come from a file (``ApiKey.parse``) and from the bucket that ``gateway.keyring`` follows; both
are kept as digests only (see ``mesh.keys``).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

from gateway.problems import Unauthorized
from mesh.keys import digest
from schemas.inference import Policy
from schemas.keys import KeyRecord

DEFAULT_TENANT: Final = "default"
_HASHED: Final = "sha256:"
_BEARER: Final = "bearer "
_DIGEST_DIGITS: Final = 64


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
    if len(hexadecimal) != _DIGEST_DIGITS or not _is_hex(hexadecimal):
        raise ValueError("a hashed API key is sha256: and 64 hexadecimal digits")
    return hexadecimal


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request, and what the key allows.

    key: its id, empty where limits do not apply. models: the only ones allowed; empty for all.
    The limits are those of ``KeyRecord``. expires: seconds since the epoch. operator: sees the
    requests of all tenants on the dashboard, as far as anything of them is shown.
    """

    tenant: str = DEFAULT_TENANT
    policy: Policy = Policy.EDGE_FIRST
    key: str = ""
    models: frozenset[str] = frozenset()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    cloud_usd_per_day: float | None = None
    expires: float | None = None
    operator: bool = False

    @classmethod
    def of(cls, record: KeyRecord) -> "Caller":
        """Return the caller that a stored key stands for."""
        return cls(
            tenant=record.tenant,
            policy=record.policy,
            key=record.id,
            models=frozenset(record.models),
            requests_per_minute=record.requests_per_minute,
            tokens_per_minute=record.tokens_per_minute,
            cloud_usd_per_day=record.cloud_usd_per_day,
            expires=record.expires,
            operator=record.operator,
        )

    @cached_property
    def per_minute(self) -> tuple[int | None, int | None]:
        """Requests and tokens per minute."""
        return self.requests_per_minute, self.tokens_per_minute

    def may_use(self, model: str) -> bool:
        """Tell whether the key is good for a model of the mesh."""
        return not self.models or model in self.models


@dataclass(frozen=True, kw_only=True)
class StoredKeys:
    """The callers of the keys in the bucket, by digest; ``required``: there has been a key."""

    callers: Mapping[str, Caller] = field(default_factory=lambda: MappingProxyType({}))
    required: bool = False


def credentials(headers: Mapping[str, str]) -> str | None:
    """Return the ``Authorization`` header, or Anthropic's ``x-api-key`` as if it were one."""
    authorization, key = headers.get("Authorization"), headers.get("x-api-key")
    if authorization is None and key is not None:
        return f"Bearer {key}"
    return authorization


class Gatekeeper:
    """Tells callers by their API key; while there are no keys, everybody is one tenant.

    Once there has been a key, keys are required: revoking the last one must let nobody in.
    """

    def __init__(
        self,
        keys: Sequence[ApiKey],
        *,
        open: bool = True,  # noqa: A002 - what it is called everywhere
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``open``: whether anybody may ask while there are no keys."""
        given = [(key.digest, Caller(tenant=key.tenant, policy=key.policy)) for key in keys]
        self._given = dict(given)
        self._stored = StoredKeys()
        self._open = open
        self._anybody = Caller(operator=True)
        self._now = wall_clock

    @property
    def has_keys(self) -> bool:
        """Whether a key is required because there are some, or have been."""
        return bool(self._given) or self._stored.required

    def learn(self, stored: StoredKeys) -> None:
        """Take other keys from the bucket from now on."""
        self._stored = stored

    def identify(self, authorization: str | None) -> Caller:
        """Return the caller an ``Authorization`` header proves; raises ``Unauthorized``."""
        if not self.has_keys and self._open:
            return self._anybody
        if authorization is None or not authorization[: len(_BEARER)].lower() == _BEARER:
            raise Unauthorized(
                "Send your API key in the header: Authorization: Bearer KEY, or x-api-key: KEY"
            )
        caller = self._find(digest(authorization[len(_BEARER) :].strip()))
        if caller is None:
            raise Unauthorized("This API key is not known here.")
        if caller.expires is not None and caller.expires <= self._now():
            raise Unauthorized("This API key has expired.")
        return caller

    def _find(self, presented: str) -> Caller | None:
        """Look a digest up; how long that takes tells nothing about any key.

        What is compared is the digest of what was presented. Whoever wants to be close to a stored
        digest has no way to find a text that is, short of breaking SHA-256.
        """
        return self._stored.callers.get(presented) or self._given.get(presented)
