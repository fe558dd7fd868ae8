"""How values are read that take more than a type: addresses, sizes, networks, pairs."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token

from mesh.jobs.webhooks.addresses import AddressRules
from mesh.settings import Address, memory_size, pair


def _address(_type: object, tokens: Sequence[Token]) -> Address:
    return Address.parse(tokens[0].value)


def _size(_type: object, text: str | None) -> None:
    if text is not None:
        memory_size(text, of=0)


def _networks(_type: object, texts: tuple[str, ...]) -> None:
    AddressRules.parse(texts)


def _pairs(_type: object, texts: tuple[str, ...]) -> None:
    for text in texts:
        pair(text)


Addressed = Annotated[Address, Parameter(converter=_address, n_tokens=1, accepts_keys=False)]
Networks = Annotated[tuple[str, ...], Parameter(validator=_networks, negative=())]
Pairs = Annotated[tuple[str, ...], Parameter(validator=_pairs)]
Sized = Annotated[str | None, Parameter(validator=_size)]
Hidden = Parameter(show=False)
