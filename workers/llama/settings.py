"""What a person may choose about one llama.cpp engine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LlamaSettings:
    """One model file and how to run it.

    model: the GGUF file. name: what the fleet calls it; empty takes the file's stem.
    slots: sequences computed at a time; 0 takes as many as ``sizes.py`` finds room for. context:
    tokens per sequence; 0 takes what the model was trained for, at most ``context_cap`` and what
    the memory holds. threads: 0 tries which number is best. gpu_layers: layers to offload where
    the build can, -1 for as many as fit.
    chunk: prompt tokens computed per step at most; step_time: seconds a step should not exceed,
    which makes chunks smaller on slow machines and bounds how long a cancel takes to act.
    nice: added to the engine's niceness, so that the bus side stays responsive.
    """

    model: Path
    name: str = ""
    slots: int = 0
    context: int = 0
    context_cap: int = 4096
    threads: int = 0
    gpu_layers: int = -1
    chunk: int = 512
    step_time: float = 0.25
    nice: int = 5
    room: int | None = None
    """Bytes for what ended sequences leave; ``None`` takes what is sensible."""
    template_time: float = 1.0
    """CPU seconds a chat template may take."""
    restart_delay: float = 0.5
    """Seconds before the first restart; doubles up to ``restart_delay_max``."""
    restart_delay_max: float = 30.0
    stable_after: float = 60.0
    """Seconds of service after which a crash starts again at the first delay."""
    stall_time: float = 60.0
    """Seconds without a sign of life, while work is running, after which the engine is killed."""
    stop_time: float = 5.0
    """Seconds an engine gets to end by itself when its pipe is closed."""

    def __post_init__(self) -> None:
        for name, lowest in (
            ("slots", 0),
            ("context", 0),
            ("threads", 0),
            ("chunk", 1),
            ("nice", 0),
            ("gpu_layers", -1),
        ):
            if getattr(self, name) < lowest:
                msg = f"{name} must be at least {lowest}, not {getattr(self, name)}"
                raise ValueError(msg)

    @property
    def model_name(self) -> str:
        """The name under which the fleet knows the model."""
        return self.name or self.model.stem
