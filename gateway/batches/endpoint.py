"""``/v1/batches``: many requests at once, answered within a day, of the caller's tenant alone."""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway import headers
from gateway.auth import Caller, credentials
from gateway.batches.drive import Garage
from gateway.batches.driver import Driver
from gateway.batches.kept import BatchRecord, cancelling
from gateway.batches.kinds import KINDS
from gateway.bodies import BodyDecoder, check_encoding, read_body
from gateway.files.endpoint import respond
from gateway.files.kept import FileNotFound, FileRecord
from gateway.paging import Limits, page
from gateway.problems import BadRequest
from mesh.errors import InvalidRequest, QueueFull, Unsupported
from schemas.inference import Policy
from schemas.openai.batches import WINDOW, Batch, BatchList, BatchRequest, BatchStatus

LARGEST_LIMIT: Final = 100
LIMITS: Final = Limits(most=LARGEST_LIMIT)


class BatchesEndpoint:
    """Serves the batches of the caller's tenant; those of others do not exist."""

    def __init__(
        self, garage: Garage, driver: Driver, inquire: Callable[[str], Awaitable[object]]
    ) -> None:
        """``inquire`` asks a runner about a tenant; raises ``MeshError`` if there is none."""
        self._house, self._garage, self._driver = garage.house, garage, driver
        self._inquire = inquire
        self._decoder = BodyDecoder(BatchRequest)

    async def post(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/batches``: the batch is kept, and driven from now on."""
        house = self._house
        caller = house.gatekeeper.identify(credentials(request.headers))
        house.quotas.enter(caller, request)
        policy = headers.policy(request.headers, caller, house.settings.policy)
        body = await self._read(request)
        file = await self._file(caller, body.input_file_id)
        await self._check_room(caller.tenant)
        record = self._record(body, caller, policy, file)
        await self._garage.book.add(record)
        self._driver.wake()
        return respond(record.batch)

    async def list(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/batches``, the newest first."""
        records = await self._garage.book.of_tenant(self._tenant(request))
        query = {name: request.query[name] for name in ("limit", "after") if name in request.query}
        cut = page([record.batch for record in records], query, LIMITS)
        return respond(
            BatchList(
                data=cut.data, first_id=cut.first_id, last_id=cut.last_id, has_more=cut.has_more
            )
        )

    async def get(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/batches/{id}``."""
        kept = await self._garage.book.find(self._tenant(request), request.match_info["id"])
        return respond(kept.record.batch)

    async def cancel(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/batches/{id}/cancel``; whoever drives it ends it within seconds."""
        now = int(time.time())
        record = await self._garage.book.insist(
            self._tenant(request), request.match_info["id"], lambda found: cancelling(found, now)
        )
        self._driver.wake()
        return respond(record.batch)

    def _tenant(self, request: web.Request) -> str:
        return self._house.gatekeeper.identify(credentials(request.headers)).tenant

    async def _read(self, request: web.Request) -> BatchRequest:
        settings = self._house.settings
        check_encoding(request.headers)
        raw = await read_body(request, limit=settings.max_body, timeout=settings.body_timeout)
        body = self._decoder.decode(raw)
        if body.endpoint not in KINDS:
            raise Unsupported(f"'endpoint' is one of {', '.join(KINDS)}.", param="endpoint")
        if body.completion_window != WINDOW:
            raise InvalidRequest(f"'completion_window' is {WINDOW}.", param="completion_window")
        return body

    async def _file(self, caller: Caller, file_id: str) -> FileRecord:
        try:
            file = await self._garage.cabinet.find(caller.tenant, file_id)
        except FileNotFound:
            raise FileNotFound(file_id, param="input_file_id") from None
        if file.purpose != "batch":
            raise BadRequest(
                f"The file's purpose is '{file.purpose}': upload it with purpose 'batch'.",
                param="input_file_id",
            )
        return file

    async def _check_room(self, tenant: str) -> None:
        """Raise ``NoResponders`` without a runner, ``QueueFull`` if the tenant has too many."""
        await self._inquire(tenant)
        most = self._house.settings.max_open_batches
        markers = (await self._garage.book.open()).markers
        if sum(marker.tenant == tenant for marker in markers) >= most:
            raise QueueFull(f"{most} batches are under way already; retry later", retry_after=60.0)

    def _record(
        self, body: BatchRequest, caller: Caller, policy: Policy, file: FileRecord
    ) -> BatchRecord:
        now, life = time.time(), body.output_expires_after
        return BatchRecord(
            batch=Batch(
                id=f"batch_{secrets.token_hex(16)}",
                endpoint=body.endpoint,
                input_file_id=file.id,
                completion_window=body.completion_window,
                status=BatchStatus.VALIDATING,
                created_at=int(now),
                expires_at=int(now + self._house.settings.batch_window),
                metadata=body.metadata,
            ),
            tenant=caller.tenant,
            created_ms=int(now * 1000),
            policy=policy,
            models=tuple(sorted(caller.models)),
            key="" if caller.cloud_usd_per_day is None else caller.key,
            cloud_usd_per_day=caller.cloud_usd_per_day,
            file=file,
            output_life=None if life is None else life.seconds,
        )
