"""Signatures as Standard Webhooks has them (standardwebhooks.com), which OpenAI's are as well.

``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``; of
several secrets, one signature each with a space between, so that a receiver may change over.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Self

from mesh.errors import InvalidRequest

PREFIX = "whsec_"
SECRET_BYTES = 32
FEWEST_BYTES, MOST_BYTES = 24, 64
"""What the specification asks of a secret."""


class Signer:
    """Signs with one secret or more; shows none of them."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = keys

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Read secrets, separated by white space; raises ``InvalidRequest`` naming ``source``."""
        keys = [_key(word) for word in text.split()]
        if not keys or None in keys:
            raise InvalidRequest(
                f"{source} must hold webhook secrets: {PREFIX} and the base64 of {FEWEST_BYTES} to "
                f"{MOST_BYTES} bytes each"
            )
        return cls(*(key for key in keys if key is not None))

    def headers(self, event: str, seconds: int, body: bytes) -> Mapping[str, str]:
        """Return the headers that prove who sends ``body``; ``seconds`` since 1970 it is now."""
        content = b"%s.%d.%s" % (event.encode(), seconds, body)
        digests = (hmac.digest(key, content, hashlib.sha256) for key in self._keys)
        signatures = (f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
        return {
            "webhook-id": event,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signatures),
        }


def new_secret() -> str:
    """Return a secret that nobody knows."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _key(word: str) -> bytes | None:
    try:
        key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    is_secret = word.startswith(PREFIX) and FEWEST_BYTES <= len(key) <= MOST_BYTES
    return key if is_secret else None
