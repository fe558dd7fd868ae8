"""How the client wants tokens to be drawn, from the names that bodies use. Pure."""

from collections.abc import Mapping

from mesh.errors import InvalidRequest
from schemas.inference import Sampling
from schemas.openai.chat import GenerationRequest


def to_sampling(body: GenerationRequest) -> Sampling:
    """Return the sampling of a request; raises ``InvalidRequest``."""
    repeat = body.repeat_penalty if body.repeat_penalty is not None else body.repetition_penalty
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(0, body.top_k),
        min_p=body.min_p,
        typical_p=body.typical_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        repeat_penalty=1.0 if repeat is None else repeat,
        repeat_last_n=body.repeat_last_n,
        seed=body.seed,
        logit_bias=_logit_bias(body.logit_bias),
        ignore_eos=bool(body.ignore_eos),
        min_tokens=body.min_tokens or 0,
        stop_token_ids=body.stop_token_ids or (),
    )


def _logit_bias(bias: Mapping[str, float] | None) -> dict[str, float] | None:
    """Keep the biases that change something; their keys are token ids."""
    effective = {token: value for token, value in (bias or {}).items() if value}
    for token in effective:
        if not (token.isascii() and token.isdecimal() and len(token) <= 9):
            raise InvalidRequest("The keys of 'logit_bias' are token ids.", param="logit_bias")
    return effective or None
