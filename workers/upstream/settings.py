"""What there is to set about an upstream, and where its key comes from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from schemas.fleet import Tariff
from schemas.inference import Ability
from workers.breaker import BreakerSettings
from workers.budget import BudgetSettings

KIB = 1024
MIB = 1024 * KIB
MESSAGES_LACK = frozenset({Ability.PROMPT, Ability.PROMPT_LOGPROBS, Ability.SUFFIX, Ability.COUNT})
"""What ``chat/completions``, the only path to text that is asked, has no form for."""


class Dialect(StrEnum):
    """Which variant of the OpenAI chat body an upstream takes."""

    OPENAI = "openai"
    """Documented fields only; ``max_completion_tokens``, without which newer models refuse."""
    COMPATIBLE = "compatible"
    """``max_tokens``, which every imitation takes, and the samplers of local servers."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the dialect spoken at an address."""
        host = urlsplit(url).hostname or ""
        official = host == "api.openai.com" or host.endswith(".openai.azure.com")
        return cls.OPENAI if official else cls.COMPATIBLE


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """One upstream: where it is, how long to wait for it and how much to take from it.

    url: the API's root, usually ending in ``/v1``. api_key_env: the environment variable that
    holds the key, ``None`` for none. max_concurrency: calls at a time, over all models.
    Timeouts in seconds: to connect, to the first byte of the answer, between two pieces of it, and
    for the whole call. silent_after: a call given up by our side counts against the upstream if it
    had kept silent for this long. Caps in bytes: for one event and for the whole answer.
    dialect: ``None`` picks it by the address. abilities: what the upstream's models can do.
    """

    url: str
    api_key_env: str | None = None
    max_concurrency: int = 8
    connect_timeout: float = 5.0
    first_byte_timeout: float = 60.0
    idle_timeout: float = 30.0
    total_timeout: float = 600.0
    silent_after: float = 15.0
    max_event_bytes: int = MIB
    max_answer_bytes: int = 32 * MIB
    dialect: Dialect | None = None
    abilities: frozenset[Ability] = frozenset(Ability) - MESSAGES_LACK
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    budget: BudgetSettings | None = None
    tariff: Tariff | None = None
    """What the mesh is told that tokens cost here; ``None``: unknown."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for an address that is no API root or that carries credentials."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an upstream's URL looks like https://api.example.com/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "an upstream's URL has no user, password or query: "
                "name the environment variable that holds the key instead"
            )

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def endpoint(self, path: str) -> str:
        """Return the address of an API path such as ``models``."""
        return f"{self.url.rstrip('/')}/{path}"


class KeyMissing(ValueError):
    """The environment variable that should hold the upstream's key is unusable."""


class ApiKey:
    """The upstream's key, which shows itself in headers and nowhere else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def from_environment(
        cls, variable: str | None, environ: Mapping[str, str] = os.environ
    ) -> "ApiKey":
        """Return the key in a variable, no key for ``None``; raises ``KeyMissing``."""
        if variable is None:
            return cls("")
        text = environ.get(variable, "").strip()
        if not text:
            raise KeyMissing(f"the environment variable {variable} holds no key for the upstream")
        if not (text.isascii() and text.isprintable()):
            raise KeyMissing(f"the key in {variable} has characters that no HTTP header takes")
        return cls(text)

    def __repr__(self) -> str:
        return "ApiKey(hidden)"

    def headers(self) -> dict[str, str]:
        """Return the header that carries the key, none without a key."""
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def redact(self, text: str) -> str:
        """Return a text with the key blotted out, should the upstream have echoed it."""
        return text.replace(self._text, "[key]") if self._text else text
