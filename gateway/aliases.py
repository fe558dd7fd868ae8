"""Model aliases: an application keeps its model names, the mesh answers with its own models.

A request that names none gets the default, if there is one; that may be an alias, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from msgspec import UNSET, UnsetType

from mesh.errors import InvalidRequest

CATCH_ALL = "*"


@dataclass(frozen=True)
class Aliases:
    """Maps names to models; the name ``*`` stands for every name that no model has.

    default: the name that counts where a request has none; ``None``: it has to have one.
    """

    targets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    default: str | None = None

    @classmethod
    def parse(cls, pairs: Iterable[str], default: str | None = None) -> "Aliases":
        """Read ``NAME=MODEL`` pairs; raises ``ValueError`` for anything else."""
        targets: dict[str, str] = {}
        for pair in pairs:
            name, equals, model = (part.strip() for part in pair.partition("="))
            if not (name and equals and model):
                raise ValueError(f"a model alias is written NAME=MODEL, not {pair!r}")
            targets[name] = model
        return cls(MappingProxyType(targets), default)

    def named(self, model: str | UnsetType) -> str:
        """Return the name of the model that a body asks for; raises ``InvalidRequest``."""
        if model is not UNSET:
            return model
        if self.default is None:
            raise InvalidRequest("The field 'model' is missing.", param="model")
        return self.default

    def resolve(self, name: str, exists: Callable[[str], bool]) -> str:
        """Return the model to ask for: a named alias first, the catch-all last."""
        if not self.targets:
            return name
        target = self.targets.get(name)
        if target is not None:
            return target
        if exists(name):
            return name
        return self.targets.get(CATCH_ALL, name)

    def names(self) -> list[str]:
        """Return the names that can be listed, sorted."""
        return sorted(name for name in self.targets if name != CATCH_ALL)
