"""Where webhooks may go: public addresses, and what is allowed by name of its network; pure.

A job's URL comes from whoever may submit one, and the runner that calls it stands inside: without
this it would be a way to reach what only the inside can (SSRF).
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self
from urllib.parse import SplitResult, urlsplit

from mesh.errors import InvalidRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048
SCHEMES = frozenset({"http", "https"})
_PLAIN = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII but for the backslash, which some readers of URLs take for a slash."""

_UNICAST = IPv6Network("2000::/3")
"""The only IPv6 addresses that are given to anybody on the internet."""
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4 carry an IPv4 address inside, which nobody here has looked at."""
_NOT_RECEIVERS = (
    IPv4Network("168.63.129.16/32"),  # the metadata of Azure, though it looks public
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
)


@dataclass(frozen=True)
class AddressRules:
    """allowed: networks that may be reached besides public addresses."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, networks: Iterable[str]) -> Self:
        """Read networks such as ``10.1.0.0/16``; raises ``ValueError``."""
        return cls(tuple(ipaddress.ip_network(text) for text in networks))

    def permit(self, text: str) -> bool:
        """Tell whether a connection may go to an address; not to what is no address."""
        try:
            address = _unmapped(ipaddress.ip_address(text))
        except ValueError:
            return False
        return _is_public(address) or any(address in network for network in self.allowed)

    def check(self, url: str) -> None:
        """Raise ``InvalidRequest`` for a URL that no webhook can have.

        Names are looked up when the webhook is told, and what they stand for is judged then.
        """
        host = (_split(url).hostname or "").rstrip(".")
        is_local = host == "localhost" or host.endswith(".localhost")
        if is_local or _is_address(host):
            literal = "127.0.0.1" if is_local else host
            if not self.permit(literal):
                raise InvalidRequest(
                    f"the webhook's address {host} is not public; whoever runs the mesh may allow "
                    "it with --webhook-allow",
                    param="webhook",
                )


def _split(url: str) -> SplitResult:
    """Return the parts of a URL of the plain kind; raises ``InvalidRequest``."""
    if not _PLAIN.fullmatch(url) or len(url) > LONGEST_URL:
        raise _wrong(f"has 1 to {LONGEST_URL} characters of ASCII, without spaces and backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("is malformed") from None
    if parts.scheme not in SCHEMES:
        raise _wrong("begins with https:// or http://")
    if not parts.hostname or port == 0:
        raise _wrong("names a host, and a port above 0 if any")
    if "@" in parts.netloc:
        raise _wrong("holds no user name or password")
    return parts


def _wrong(what: str) -> InvalidRequest:
    return InvalidRequest(f"the URL of a webhook {what}", param="webhook")


def _is_address(host: str) -> bool:
    """Tell addresses from names, in every way of writing them that a system's resolver takes."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return re.fullmatch(r"(?i)(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}", host) is not None
    return True


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one merely writes otherwise."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_RECEIVERS)
    return address in _UNICAST and not any(address in network for network in _TUNNELS)
