"""The llama.cpp engine as the agent sees it: a model that is there when it is wanted.

The agent's process never loads llama.cpp: an abort in native code, an exhausted memory or a runaway
template costs one engine process, which is replaced. Ending that process is also how a model leaves
memory: all of it comes back.
"""

import dataclasses
from collections.abc import Callable

import anyio
import structlog
from anyio import to_thread
from msgspec.structs import replace

from mesh.clock import Clock, monotonic, remaining_ms
from mesh.errors import Busy, DeadlineExceeded, NoCapacity
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Ability, Dispatch
from workers.engine import Emit, Finish
from workers.llama.digest import Digests
from workers.llama.fit import shortage
from workers.llama.gguf_header import BadModelFile
from workers.llama.messages import Refused
from workers.llama.pooling import abilities
from workers.llama.process import EngineProcess, running_engine
from workers.llama.prospect import Prospect, foresee
from workers.llama.settings import LlamaSettings
from workers.llama.sizes import SLOTS
from workers.memory import Memory, Stay, Withdrawn

ABILITIES = tuple(
    ability.value
    for ability in (
        Ability.TOOLS,
        Ability.STRUCTURED_OUTPUT,
        Ability.LOGPROBS,
        Ability.PROMPT_LOGPROBS,
        Ability.LOGIT_BIAS,
        Ability.CHOICES,
        Ability.PROMPT,
        Ability.COUNT,
    )
)
"""Of a model that generates text."""
INFILLING = (*ABILITIES, Ability.SUFFIX.value)
"""Of one that was also trained to fill gaps."""
RETRY_AFTER = 5.0
"""Seconds after which a model that could not be loaded is worth another try."""

log = structlog.get_logger(__name__)


class _Arrival:
    """What everybody who waits for the model is waiting for."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.failure = ""


class LlamaEngine:
    """Serves one model file through an engine process of its own.

    memory: shared with the worker's other models; without one there is no limit but the machine's.
    eager: loaded at the start and again after a crash, otherwise on first use.
    """

    def __init__(
        self,
        settings: LlamaSettings,
        *,
        memory: Memory | None = None,
        eager: bool = True,
        digests: Digests | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._budget = None if memory is None else memory.budget
        self._claim = (memory or Memory()).claim(settings.model_name)
        self._claim.on_evict = self._evicted
        self._digests = digests or Digests()
        self._digest = ""
        self._prospect: Prospect | None = None
        self._load_seconds = 0.0
        self._infills = True
        """Believed until llama.cpp has seen the vocabulary: it alone knows which tokens do that."""
        self._process: EngineProcess | None = None
        """The process that serves, or that is to once the model is loaded."""
        self._is_loaded = False
        self._service = anyio.CancelScope()
        self._arrival = _Arrival()
        self._keeps_up = eager
        self._delay = settings.restart_delay
        # What to say while no process serves.
        self._down_state = ModelState.LOADING
        self._down_detail = "loading"

    @property
    def pid(self) -> int | None:
        """The engine process's id while the model is ready."""
        process = self._ready()
        return process.pid if process else None

    @property
    def gives_way(self) -> bool:
        """Whether background attempts are interrupted: between two steps."""
        return True

    def load(self) -> None:
        """Have the model loaded, although nobody uses it yet."""
        self._claim.insist()

    def unload(self) -> None:
        """Have the model leave memory as soon as nobody uses it; its next use loads it again."""
        self._keeps_up = False
        self._claim.dismiss()

    def status(self) -> ModelStatus:
        """Return what to advertise."""
        process = self._ready()
        if process is None or process.opened is None:
            return self._status_down()
        opened, figures = process.opened, process.last_step or process.opened
        return ModelStatus(
            name=self._settings.model_name,
            digest=self._digest,
            state=ModelState.READY,
            context=opened.context,
            # One that is to make room for another takes nothing new; what runs is finished.
            slots=0 if self._claim.is_recalled else opened.slots,
            kv_free=figures.kv_free,
            prefill_rate=figures.prefill_rate,
            decode_rate=figures.decode_rate,
            abilities=self._abilities,
            warm=process.warmth.fingerprints,
            progress=1.0,
            detail="makes room for another model" if self._claim.is_recalled else opened.detail,
        )

    def _status_down(self) -> ModelStatus:
        progress = self._process.progress if self._process is not None else 0.0
        if self._down_state is not ModelState.LOADING:
            progress = 0.0
        return ModelStatus(
            name=self._settings.model_name,
            digest=self._digest,
            state=self._down_state,
            context=self._prospect.context if self._prospect else 0,
            slots=self._prospect.slots if self._prospect else self._settings.slots or SLOTS,
            overhead_ms=1000 * self._load_seconds * (1 - progress),
            abilities=self._abilities,
            progress=progress,
            detail=self._down_detail,
        )

    @property
    def _abilities(self) -> tuple[str, ...]:
        pooling = self._prospect.pooling if self._prospect else None
        if pooling is not None:
            return abilities(pooling)
        return INFILLING if self._infills else ABILITIES

    async def run(self, changed: Callable[[], None]) -> None:
        """Have the model in memory while it is wanted and there is room, until cancelled.

        One that does not hold is tried again with growing pauses.
        """
        self._claim.on_change = changed
        if self._keeps_up:
            self._claim.insist()
        while True:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take_digest, changed)
                failure = await self._live(changed)
                tasks.cancel_scope.cancel()
            if failure is not None:
                self._fail(failure)
                changed()
                await anyio.sleep(self._delay)
                self._delay = min(2 * self._delay, self._settings.restart_delay_max)

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Compute one attempt, once the model is loaded.

        Raises ``Busy`` while the model is down after a failure, ``NoCapacity`` if it cannot be
        loaded.
        """
        deadline = self._clock() + work.remaining_ms / 1000
        with self._claim.use():
            process = self._ready()
            if process is None:
                process = await self._loaded(deadline)
                work = replace(work, remaining_ms=remaining_ms(deadline, self._clock()))
            return await process.generate(work, emit)

    async def _loaded(self, deadline: float) -> EngineProcess:
        """Wait until the model is loaded, for whomever it was that asked first."""
        if self._down_state is ModelState.FAILED:
            msg = f"{self._settings.model_name} is not loaded: {self._down_detail}"
            raise Busy(msg)
        with anyio.move_on_after(deadline - self._clock()):
            while (process := self._ready()) is None:
                arrival = self._arrival
                await arrival.over.wait()
                if arrival.failure:
                    msg = f"{self._settings.model_name} cannot be loaded: {arrival.failure}"
                    raise NoCapacity(msg, retry_after=RETRY_AFTER)
            return process
        msg = f"the deadline passed before {self._settings.model_name} was loaded"
        raise DeadlineExceeded(msg)

    def _ready(self) -> EngineProcess | None:
        """Return the process with the model loaded, unless it has died since or is to leave."""
        process = self._process
        if process is None or not (self._is_loaded and process.is_up):
            return None
        return process if self._claim.stay is Stay.IN else None

    async def _live(self, changed: Callable[[], None]) -> str | None:
        """Load the model once it is wanted and serve it; return why that ended.

        ``None`` if it ended in good order: the model was unloaded, or is not wanted any more.
        """
        try:
            prospect = await to_thread.run_sync(foresee, self._settings, self._budget)
        except BadModelFile as error:
            return str(error)
        self._prospect = prospect
        self._load_seconds = self._load_seconds or prospect.load_seconds
        if reason := self._too_large(prospect):
            return reason
        if not self._claim.is_wanted:
            self._is_down(ModelState.AVAILABLE, "loaded on first use")
            changed()
            await self._claim.wanted()
        self._is_down(ModelState.LOADING, "waiting for memory")
        changed()
        try:
            async with self._claim.hold(prospect.need.total):
                return await self._serve(self._sized(prospect), changed)
        except Withdrawn:
            return None

    def _too_large(self, prospect: Prospect) -> str | None:
        if self._budget is None:
            return None
        reason = shortage(prospect.need, self._budget)
        return reason and f"{reason} for the models of this worker"

    def _sized(self, prospect: Prospect) -> LlamaSettings:
        """Return the settings to start with: what memory was asked for is what is used."""
        if self._budget is None:
            return self._settings
        return dataclasses.replace(
            self._settings,
            slots=prospect.slots,
            context=prospect.context,
            room=prospect.need.kept,
        )

    async def _serve(self, settings: LlamaSettings, changed: Callable[[], None]) -> str | None:
        """Run one engine process to its end; return why it ended."""
        self._is_down(ModelState.LOADING, "loading")
        changed()
        try:
            async with running_engine(settings, changed) as process:
                self._process = process
                return await self._use(process, changed)
        except OSError as error:
            return f"the engine process cannot be started: {error.strerror}"
        finally:
            self._process, self._is_loaded = None, False

    async def _use(self, process: EngineProcess, changed: Callable[[], None]) -> str | None:
        began = self._clock()
        answer = await process.open()
        if isinstance(answer, Refused):
            # Where memory is shared, the next attempt may cost another model its place.
            self._keeps_up = self._keeps_up and self._budget is None
            return answer.detail
        log.info("engine.ready", model=self._settings.model_name, detail=answer.detail)
        ready_at = self._clock()
        self._infills = answer.infills
        self._load_seconds = ready_at - began
        self._is_down(ModelState.FAILED, "the engine process has just died")
        self._is_loaded = self._keeps_up = True
        self._arrival.over.set()
        self._arrival = _Arrival()
        with anyio.CancelScope() as self._service:
            self._claim.settle(self._load_seconds)
            changed()
            reason = await process.died()
            if self._clock() - ready_at > self._settings.stable_after:
                self._delay = self._settings.restart_delay
            return reason
        log.info("engine.unloaded", model=self._settings.model_name)
        self._delay = self._settings.restart_delay
        return None

    def _evicted(self) -> None:
        """Leave memory: the process ends, and whoever comes now waits for the next one."""
        self._keeps_up = False
        self._is_down(ModelState.AVAILABLE, "loaded on first use")
        self._service.cancel()
        self._claim.on_change()

    def _fail(self, reason: str) -> None:
        """Tell everybody who waits; a model that is to be kept up is tried again unasked."""
        model = self._settings.model_name
        log.warning("engine.down", model=model, reason=reason, retry_in=self._delay)
        self._is_down(ModelState.FAILED, reason)
        self._arrival.failure = reason
        self._arrival.over.set()
        self._arrival = _Arrival()
        if self._keeps_up:
            self._claim.insist()

    def _is_down(self, state: ModelState, detail: str) -> None:
        self._down_state, self._down_detail = state, detail

    async def _take_digest(self, changed: Callable[[], None]) -> None:
        try:
            self._digest = await self._digests.of(self._settings.model)
        except OSError as error:
            log.warning("engine.no_digest", model=self._settings.model_name, reason=error.strerror)
        changed()
