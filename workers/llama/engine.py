"""The llama.cpp engine as the agent sees it: a model that is kept up, whatever happens to it.

The agent's process never loads llama.cpp: an abort in native code, an exhausted memory or a runaway
template costs one engine process, which is replaced.
"""

from collections.abc import Callable

import anyio
import structlog

from mesh.clock import Clock, monotonic
from mesh.errors import Busy
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Ability, Dispatch
from workers.engine import Emit, Finish
from workers.llama.digest import FileDigest
from workers.llama.messages import Refused
from workers.llama.process import EngineProcess, running_engine
from workers.llama.settings import LlamaSettings

ABILITIES = (Ability.LOGIT_BIAS.value,)

log = structlog.get_logger(__name__)


class LlamaEngine:
    """Serves one model file through an engine process of its own."""

    def __init__(self, settings: LlamaSettings, *, clock: Clock = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._process: EngineProcess | None = None
        self._digest = FileDigest(settings.model)
        # What to say while no process is up.
        self._down_state = ModelState.LOADING
        self._down_detail = "loading"

    @property
    def pid(self) -> int | None:
        """The engine process's id while the model is ready."""
        process = self._ready()
        return process.pid if process else None

    def status(self) -> ModelStatus:
        """Return what to advertise."""
        process = self._ready()
        if process is None or process.opened is None:
            return ModelStatus(
                name=self._settings.model_name,
                digest=self._digest.value,
                state=self._down_state,
                slots=self._settings.slots,
                abilities=ABILITIES,
                detail=self._down_detail,
            )
        opened, figures = process.opened, process.last_step or process.opened
        return ModelStatus(
            name=self._settings.model_name,
            digest=self._digest.value,
            state=ModelState.READY,
            context=opened.context,
            slots=opened.slots,
            kv_free=figures.kv_free,
            prefill_rate=figures.prefill_rate,
            decode_rate=figures.decode_rate,
            abilities=ABILITIES,
            detail=opened.detail,
        )

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep the model loaded until cancelled, with growing pauses while it does not hold."""
        settings = self._settings
        delay = settings.restart_delay
        while True:
            started = self._clock()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take_digest, changed)
                reason = await self._serve(changed)
                tasks.cancel_scope.cancel()
            if self._clock() - started > settings.stable_after:
                delay = settings.restart_delay
            self._is_down(ModelState.FAILED, reason)
            log.warning("engine.down", model=settings.model_name, reason=reason, retry_in=delay)
            changed()
            await anyio.sleep(delay)
            delay = min(2 * delay, settings.restart_delay_max)

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Compute one attempt; raises ``Busy`` while the model is not loaded."""
        process = self._ready()
        if process is None:
            msg = f"{self._settings.model_name} is not loaded: {self._down_detail}"
            raise Busy(msg)
        return await process.generate(work, emit)

    def _ready(self) -> EngineProcess | None:
        """Return the process with the model loaded, unless it has died since."""
        process = self._process
        return process if process is not None and process.is_up else None

    async def _serve(self, changed: Callable[[], None]) -> str:
        """Run one engine process to its end; return why it ended."""
        self._is_down(ModelState.LOADING, "loading")
        changed()
        try:
            async with running_engine(self._settings) as process:
                return await self._use(process, changed)
        except OSError as error:
            return f"the engine process cannot be started: {error.strerror}"

    async def _use(self, process: EngineProcess, changed: Callable[[], None]) -> str:
        answer = await process.open()
        if isinstance(answer, Refused):
            return answer.detail
        log.info("engine.ready", model=self._settings.model_name, detail=answer.detail)
        self._is_down(ModelState.FAILED, "the engine process has just died")
        self._process = process
        changed()
        try:
            return await process.died()
        finally:
            self._process = None

    def _is_down(self, state: ModelState, detail: str) -> None:
        self._down_state, self._down_detail = state, detail

    async def _take_digest(self, changed: Callable[[], None]) -> None:
        try:
            await self._digest.refresh()
        except OSError as error:
            log.warning("engine.no_digest", model=self._settings.model_name, reason=error.strerror)
        changed()
