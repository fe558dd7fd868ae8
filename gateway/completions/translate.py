"""From the completion body to one request of the mesh per prompt. Pure."""

from msgspec.structs import replace

from gateway.output_format import output_format
from gateway.sampling import to_sampling
from gateway.translate import Terms, stop_texts
from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import InferRequest
from schemas.openai.completions import DEFAULT_MAX_TOKENS, MAX_PROMPTS, CompletionRequest

Prompt = str | tuple[int, ...]


def to_infer(body: CompletionRequest, terms: Terms) -> tuple[InferRequest, ...]:
    """Return a request per prompt; raises ``InvalidRequest`` or ``Unsupported``, with the field."""
    prompts = prompts_of(body)
    _refuse_what_no_engine_does(body, prompts)
    first = terms.request(
        prompt=prompts[0],
        suffix=body.suffix or "",
        stream=bool(body.stream),
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        stop=stop_texts(body.stop),
        sampling=to_sampling(body),
        n=body.n or 1,
        logprobs=body.logprobs,
        prompt_logprobs=scores_prompt(body),
        response_format=output_format(body),
        cache_prompt=body.cache_prompt is not False,
    )
    if len(prompts) == 1:
        return (first,)
    return tuple(
        replace(first, id=f"{terms.id}-{number}", prompt=prompt)
        for number, prompt in enumerate(prompts)
    )


def prompts_of(body: CompletionRequest) -> tuple[Prompt, ...]:
    """Return texts or lists of tokens; a list of numbers is the tokens of one prompt."""
    if isinstance(body.prompt, str):
        return _checked((body.prompt,), body)
    tokens = tuple(entry for entry in body.prompt if isinstance(entry, int))
    if not tokens:
        return _checked(tuple(entry for entry in body.prompt if not isinstance(entry, int)), body)
    if len(tokens) < len(body.prompt):
        raise InvalidRequest("'prompt' mixes tokens with texts or lists of tokens.", param="prompt")
    return (tokens,)


def scores_prompt(body: CompletionRequest) -> bool:
    """Tell whether the prompt is repeated together with its log-probabilities."""
    return bool(body.echo) and body.logprobs is not None


def _checked(prompts: tuple[Prompt, ...], body: CompletionRequest) -> tuple[Prompt, ...]:
    if len(prompts) > MAX_PROMPTS:
        raise InvalidRequest(f"'prompt' has more than {MAX_PROMPTS} entries.", param="prompt")
    for number, prompt in enumerate(prompts):
        if not prompt and not body.suffix:
            where = "prompt" if len(prompts) == 1 else f"prompt[{number}]"
            raise InvalidRequest(f"'{where}' is empty.", param=where)
    return prompts


def _refuse_what_no_engine_does(body: CompletionRequest, prompts: tuple[Prompt, ...]) -> None:
    if body.best_of and body.best_of != (body.n or 1):
        raise Unsupported("'best_of' is only supported where it equals 'n'.", param="best_of")
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise Unsupported("'echo' is only supported for prompts given as text.", param="echo")
