"""``GET /healthz`` (the process lives) and ``GET /readyz`` (it can answer)."""

import msgspec
from aiohttp import web

from mesh.fleet import Fleet
from schemas.fleet import Tier

_encode = msgspec.json.Encoder().encode


class HealthEndpoint:
    """Tells supervisors and load balancers how the gateway is."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def live(self, _: web.Request) -> web.Response:
        """Answer ``GET /healthz``: always 200, for the event loop turns."""
        return _respond(200, {"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """Answer ``GET /readyz``: 200 while at least one worker is live, else 503.

        A worker is live if the bus has brought an advert of it within the last three seconds, so
        ready means that the bus is connected, too.
        """
        tiers = [node.key[0] for node in self._fleet.nodes() if not node.advert.draining]
        counts = {tier.value: tiers.count(tier) for tier in Tier}
        status = "ready" if tiers else "no worker is up"
        return _respond(200 if tiers else 503, {"status": status, "workers": counts})


def _respond(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, body=_encode(body), headers={"Content-Type": "application/json"}
    )
