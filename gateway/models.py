"""``GET /v1/models`` and ``GET /v1/models/{id}``; ids may contain a slash."""

import time
from collections.abc import Iterator

import msgspec
from aiohttp import web

from gateway.auth import Caller, Gatekeeper, credentials
from gateway.reach import Reach
from gateway.settings import GatewaySettings
from mesh.errors import ModelNotFound
from mesh.fleet import Fleet, ModelSummary
from schemas.openai.models import Model, ModelList

_encode = msgspec.json.Encoder().encode


class ModelsEndpoint:
    """Lists the models that the caller's requests may reach, and the aliases that lead to them."""

    def __init__(self, *, fleet: Fleet, gatekeeper: Gatekeeper, settings: GatewaySettings) -> None:
        self._fleet, self._gatekeeper, self._settings = fleet, gatekeeper, settings
        self._created = int(time.time())

    async def list(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/models``."""
        caller = self._gatekeeper.identify(credentials(request.headers))
        return _respond(ModelList(data=tuple(self._models(caller))))

    async def get(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/models/{id}``; raises ``ModelNotFound``."""
        caller = self._gatekeeper.identify(credentials(request.headers))
        asked = request.match_info["id"]
        reachable = {summary.name: summary for summary in self._reachable(caller)}
        summary = reachable.get(self._settings.aliases.resolve(asked, reachable.__contains__))
        if summary is None:
            raise ModelNotFound(f"no worker serves the model {asked!r}", param="model")
        return _respond(self._model(asked, summary))

    def _models(self, caller: Caller) -> Iterator[Model]:
        reachable = {summary.name: summary for summary in self._reachable(caller)}
        for summary in reachable.values():
            yield self._model(summary.name, summary)
        for alias in self._settings.aliases.names():
            target = reachable.get(self._settings.aliases.resolve(alias, reachable.__contains__))
            if target is not None and alias not in reachable:
                yield self._model(alias, target)

    def _reachable(self, caller: Caller) -> Iterator[ModelSummary]:
        reach = Reach.of(caller, self._settings.policy)
        for summary in self._fleet.models():
            if reach.covers_any(summary):
                yield summary

    def _model(self, name: str, summary: ModelSummary) -> Model:
        return Model(id=name, created=self._created, owned_by="edge" if summary.edge else "cloud")


def _respond(body: Model | ModelList) -> web.Response:
    return web.Response(body=_encode(body), headers={"Content-Type": "application/json"})
