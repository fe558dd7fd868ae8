"""The Responses API put together."""

from typing import Final

from aiohttp import web

from gateway.reception import House
from gateway.responses.archive import Archive
from gateway.responses.counting import CountingEndpoint
from gateway.responses.endpoint import ResponsesEndpoint
from gateway.responses.retrieval import RetrievalEndpoint
from gateway.responses.runner import BackgroundRunner
from gateway.responses.store import MemoryStore, ResponseStore

ALL: Final = "/v1/responses"
ONE: Final = ALL + "/{id:resp_[A-Za-z0-9_-]+}"
RUNNER: Final = web.AppKey("responses_runner", BackgroundRunner)
"""Where an application keeps what runs its background responses; whoever serves it opens that."""


def add_responses(app: web.Application, house: House, store: ResponseStore | None) -> None:
    """Add the routes, and what runs behind them."""
    settings = house.settings
    archive = Archive(
        MemoryStore() if store is None else store,
        limit=settings.max_response,
        ttl=settings.response_ttl,
        max_context=settings.max_body,
    )
    runner = app[RUNNER] = BackgroundRunner(house, archive)
    made = ResponsesEndpoint(house, archive, runner)
    counted = CountingEndpoint(house, archive)
    kept = RetrievalEndpoint(house, archive, runner)
    app.add_routes(
        [
            web.post(ALL, made.post),
            web.post(f"{ALL}/input_tokens", counted.post),
            web.get(ONE, kept.get),
            web.delete(ONE, kept.delete),
            web.get(f"{ONE}/input_items", kept.input_items),
            web.post(f"{ONE}/cancel", kept.cancel),
        ]
    )
