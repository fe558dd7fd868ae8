"""Files and batches put together."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiohttp import web

from gateway.batches.assembly import Assembly
from gateway.batches.book import Book
from gateway.batches.drive import Garage
from gateway.batches.driver import Driver
from gateway.batches.endpoint import BatchesEndpoint
from gateway.batches.parts import Journal
from gateway.files.cabinet import Cabinet
from gateway.files.endpoint import FilesEndpoint
from gateway.files.sweep import Sweeper
from gateway.reception import House
from mesh.bus import Bus
from mesh.errors import StoreError
from mesh.jobs.client import Jobs

Run = Callable[..., Coroutine[Any, Any, object]]

FILES: Final = "/v1/files"
FILE: Final = FILES + "/{id}"
BATCHES: Final = "/v1/batches"
BATCH: Final = BATCHES + "/{id}"
BEHIND: Final = web.AppKey("behind_batches", tuple[Run, ...])
"""Where an application keeps what runs behind files and batches; whoever serves it runs that."""


class Clients:
    """One client of durable jobs for each tenant: all batches of a tenant hear the same news."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._clients: dict[str, Jobs] = {}

    def of(self, tenant: str) -> Jobs:
        """Return the client of a tenant."""
        return self._clients.setdefault(tenant, Jobs(self._bus, tenant))

    async def inquire(self, tenant: str) -> None:
        """Ask a runner, once; raises ``MeshError`` if none answers."""
        await Jobs(self._bus, tenant, keep_asking=0.0).list(limit=1)


def add_batches(app: web.Application, house: House, bus: Bus | None) -> None:
    """Add the routes, and what runs behind them; without a bus all of them are refused."""
    if bus is None:
        app.add_routes([web.route(method, path, _unserved) for method, path in _paths()])
        app[BEHIND] = ()
        return
    book, cabinet, journal = Book(bus, house.settings.batch_ttl), Cabinet(bus), Journal(bus)
    clients = Clients(bus)
    garage = Garage(
        house=house,
        book=book,
        cabinet=cabinet,
        journal=journal,
        assembly=Assembly(cabinet, journal),
        jobs=clients.of,
    )
    driver = Driver(garage)
    files = FilesEndpoint(house, cabinet, book.reader_of)
    batches = BatchesEndpoint(garage, driver, clients.inquire)
    handlers = (
        files.post,
        files.list,
        files.get,
        files.delete,
        files.content,
        batches.post,
        batches.list,
        batches.get,
        batches.cancel,
    )
    routes = zip(_paths(), handlers, strict=True)
    app.add_routes([web.route(method, path, handler) for (method, path), handler in routes])
    app[BEHIND] = (driver.run, Sweeper(cabinet, book.reader_of).run)


def _paths() -> tuple[tuple[str, str], ...]:
    return (
        ("POST", FILES),
        ("GET", FILES),
        ("GET", FILE),
        ("DELETE", FILE),
        ("GET", f"{FILE}/content"),
        ("POST", BATCHES),
        ("GET", BATCHES),
        ("GET", BATCH),
        ("POST", f"{BATCH}/cancel"),
    )


async def _unserved(_: web.Request) -> web.Response:
    raise StoreError("this gateway has no store for files and batches")
