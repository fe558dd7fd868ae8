"""Chat completions put together: those that are made, and those that are kept."""

from typing import Final

from aiohttp import web

from gateway.chat import ChatEndpoint
from gateway.chats.archive import ChatArchive
from gateway.chats.endpoint import ChatsEndpoint
from gateway.chats.store import ChatStore, in_memory
from gateway.reception import House

ALL: Final = "/v1/chat/completions"
ONE: Final = ALL + "/{id}"


def add_chats(app: web.Application, house: House, store: ChatStore | None) -> None:
    """Add the routes; ``store``: default: the memory of this process."""
    settings = house.settings
    archive = ChatArchive(
        in_memory() if store is None else store,
        limit=settings.max_response,
        ttl=settings.response_ttl,
        most=settings.max_body,
    )
    kept = ChatsEndpoint(house, archive)
    app.add_routes(
        [
            web.post(ALL, ChatEndpoint(house, archive).post),
            web.get(ALL, kept.list),
            web.get(ONE, kept.get),
            web.post(ONE, kept.change),
            web.delete(ONE, kept.delete),
            web.get(f"{ONE}/messages", kept.messages),
        ]
    )
