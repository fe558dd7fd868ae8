"""What is told of a model: how it serves, or what to expect while no process serves it."""

from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Ability
from workers.llama.messages import Opened
from workers.llama.pooling import abilities
from workers.llama.process import EngineProcess
from workers.llama.prospect import Prospect
from workers.llama.settings import LlamaSettings
from workers.llama.sizes import SLOTS

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


class Standing:
    """What the agent's process knows of one model, kept up by its engine.

    digest: empty until it is known. load_seconds: how long loading took, or is expected to take.
    state, detail: what to say while no process serves.
    """

    def __init__(self, settings: LlamaSettings) -> None:
        self._settings = settings
        self.digest = ""
        self.prospect: Prospect | None = None
        self.load_seconds = 0.0
        self.infills = True
        """Believed until llama.cpp has seen the vocabulary: it alone knows which tokens do that."""
        self.state = ModelState.LOADING
        self.detail = "loading"

    def explain(self, state: ModelState, detail: str) -> None:
        """Set what to say while no process serves."""
        self.state, self.detail = state, detail

    def serving(self, process: EngineProcess, opened: Opened, *, is_recalled: bool) -> ModelStatus:
        """Return what to advertise of a model that a process serves.

        is_recalled: it is to make room for another one.
        """
        figures = process.last_step or opened
        return ModelStatus(
            name=self._settings.model_name,
            digest=self.digest,
            state=ModelState.READY,
            context=opened.context,
            # One that is to make room for another takes nothing new; what runs is finished.
            slots=0 if is_recalled else opened.slots,
            kv_free=figures.kv_free,
            prefill_rate=figures.prefill_rate,
            decode_rate=figures.decode_rate,
            abilities=self._abilities,
            warm=process.warmth.fingerprints,
            progress=1.0,
            detail="makes room for another model" if is_recalled else opened.detail,
        )

    def down(self, process: EngineProcess | None) -> ModelStatus:
        """Return what to advertise of a model that no process serves; one may be loading it."""
        progress = process.progress if process is not None else 0.0
        if self.state is not ModelState.LOADING:
            progress = 0.0
        prospect = self.prospect
        return ModelStatus(
            name=self._settings.model_name,
            digest=self.digest,
            state=self.state,
            context=prospect.context if prospect else 0,
            slots=prospect.slots if prospect else self._settings.slots or SLOTS,
            overhead_ms=1000 * self.load_seconds * (1 - progress),
            abilities=self._abilities,
            progress=progress,
            detail=self.detail,
        )

    @property
    def _abilities(self) -> tuple[str, ...]:
        pooling = self.prospect.pooling if self.prospect else None
        if pooling is not None:
            return abilities(pooling)
        return INFILLING if self.infills else ABILITIES
