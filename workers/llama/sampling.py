"""How the next token is drawn: a request's wishes, checked and completed with the model's own."""

import math
import zlib
from dataclasses import dataclass
from typing import Any

from mesh.errors import InvalidRequest
from schemas.inference import Sampling
from workers.llama.gguf_header import Header

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's ``LLAMA_DEFAULT_SEED``: draw a seed."""
MAX_BIASES = 1024
MAX_STOP_TOKENS = 1024
BOUNDS = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 1 << 30),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "repeat_penalty": (0.01, 100.0),
    "repeat_last_n": (-1, 1 << 30),
    "min_tokens": (0, 1 << 30),
}
"""What llama.cpp can take, which is more than OpenAI's documentation allows."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds where a request says nothing; the values are llama.cpp's own."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05

    @classmethod
    def of(cls, header: Header) -> "Defaults":
        """Return the defaults a model file recommends (``general.sampling.*``), if they make sense.

        A file's values are no more to be trusted than a request's.
        """
        keys = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
        found: dict[str, Any] = {
            name: header.values.get(f"general.sampling.{key}") for name, key in keys.items()
        }
        return cls(**{name: value for name, value in found.items() if _fits(name, value)})


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Every parameter of a sampler chain, within its bounds. temperature 0 is greedy."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repeat_penalty: float
    seed: int
    typical_p: float = 1.0
    repeat_last_n: int = -1
    """Tokens that the penalties look back, -1 for all."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    """Tokens before which neither the model's own end nor ``stop_token_ids`` may be drawn."""
    stop_token_ids: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is drawn, as the model has it."""
        is_changed = self.has_penalties or self.logit_bias or self.ignore_eos or self.min_tokens
        return self.temperature == 0 and not is_changed

    @property
    def has_penalties(self) -> bool:
        """Whether earlier tokens change the odds."""
        return (self.presence_penalty, self.frequency_penalty, self.repeat_penalty) != (0, 0, 1)


def resolve(wanted: Sampling, defaults: Defaults, vocabulary: int, choice: int = 0) -> Drawing:
    """Return the parameters of a choice's sampler chain; raises ``InvalidRequest``."""
    return Drawing(
        temperature=_checked("temperature", wanted.temperature, defaults.temperature),
        top_k=int(_checked("top_k", wanted.top_k, defaults.top_k)),
        top_p=_checked("top_p", wanted.top_p, defaults.top_p),
        min_p=_checked("min_p", wanted.min_p, defaults.min_p),
        presence_penalty=_checked("presence_penalty", wanted.presence_penalty, 0),
        frequency_penalty=_checked("frequency_penalty", wanted.frequency_penalty, 0),
        repeat_penalty=_checked("repeat_penalty", wanted.repeat_penalty, 1),
        seed=RANDOM_SEED if wanted.seed is None else fold_seed(wanted.seed, choice),
        typical_p=_checked("typical_p", wanted.typical_p, 1),
        repeat_last_n=int(_checked("repeat_last_n", wanted.repeat_last_n, -1)),
        logit_bias=_biases(wanted.logit_bias or {}, vocabulary),
        ignore_eos=wanted.ignore_eos,
        min_tokens=int(_checked("min_tokens", wanted.min_tokens, 0)),
        stop_token_ids=_stop_tokens(wanted.stop_token_ids, vocabulary),
    )


def fold_seed(seed: int, choice: int = 0) -> int:
    """Map any int64 to llama.cpp's 32 bits, never to the value that means "random".

    Every choice of a request has a seed of its own.
    """
    folded = zlib.crc32(seed.to_bytes(9, "little", signed=True))
    if choice:
        folded = zlib.crc32(choice.to_bytes(4, "little"), folded)
    return folded % RANDOM_SEED


def _fits(name: str, value: object) -> bool:
    lowest, highest = BOUNDS[name]
    return isinstance(value, int | float) and lowest <= value <= highest


def _checked(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if not _fits(name, value):
        lowest, highest = BOUNDS[name]
        msg = f"{name} must lie between {lowest:.10g} and {highest:.10g}"
        raise InvalidRequest(msg, param=name)
    return value


def _stop_tokens(wanted: tuple[int, ...], vocabulary: int) -> tuple[int, ...]:
    if len(wanted) > MAX_STOP_TOKENS:
        msg = f"stop_token_ids has {len(wanted)} entries, at most {MAX_STOP_TOKENS} are possible"
        raise InvalidRequest(msg, param="stop_token_ids")
    if any(not 0 <= token < vocabulary for token in wanted):
        msg = f"stop_token_ids names a token that the model does not have (0 to {vocabulary - 1})"
        raise InvalidRequest(msg, param="stop_token_ids")
    return wanted


def _biases(wanted: dict[str, float], vocabulary: int) -> tuple[tuple[int, float], ...]:
    if len(wanted) > MAX_BIASES:
        msg = f"logit_bias has {len(wanted)} entries, at most {MAX_BIASES} are possible"
        raise InvalidRequest(msg, param="logit_bias")
    return tuple(_bias(token, bias, vocabulary) for token, bias in wanted.items())


def _bias(token: str, bias: float, vocabulary: int) -> tuple[int, float]:
    if not token.isdecimal() or int(token) >= vocabulary:
        msg = f"logit_bias names a token that the model does not have (0 to {vocabulary - 1})"
        raise InvalidRequest(msg, param="logit_bias")
    if not math.isfinite(bias):
        msg = "logit_bias values must be finite"
        raise InvalidRequest(msg, param="logit_bias")
    return int(token), bias
