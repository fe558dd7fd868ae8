"""From an order to an attempt whose choices can be scheduled."""

from collections.abc import Callable
from collections.abc import Sequence as Items

from mesh.errors import InvalidRequest
from schemas.inference import InferRequest, Urgency
from workers.llama.attempt import Attempt
from workers.llama.cache import domain_of
from workers.llama.constraint import Constraint, Constraints
from workers.llama.decoder import Decoder
from workers.llama.dialect import Dialect
from workers.llama.drafts import Drafter
from workers.llama.limits import check
from workers.llama.logprobs import Reporting
from workers.llama.masking import Masked
from workers.llama.messages import Submit
from workers.llama.prompts import Prompt, Prompts
from workers.llama.sampling import Defaults, Drawing, resolve
from workers.llama.scoring import MOST_SCORES, PromptScores
from workers.llama.sequence import Sampler, Sequence
from workers.llama.template import ChatTemplate
from workers.llama.voice import Voice


class Intake:
    """Prepares prompts, samplers, readers and limits for one model."""

    def __init__(
        self,
        decoder: Decoder,
        template: ChatTemplate,
        defaults: Defaults,
        context: int,
        *,
        dialect: Dialect,
        constraints: Callable[[], Constraints],
    ) -> None:
        """``context``: tokens per sequence; ``constraints``: made on first use: it takes time."""
        self._decoder = decoder
        self._prompts = Prompts(decoder, template, context)
        self._defaults = defaults
        self._context = context
        self._dialect = dialect
        self._make_constraints = constraints
        self._constraints: Constraints | None = None

    def prepare(self, submit: Submit, now: float) -> Attempt:
        """Return an attempt whose choices have no place yet; raises ``MeshError``."""
        check(submit)
        request = submit.request
        self._check_emitted(submit.emitted)
        prompt = self._prompts.read(request)
        choices = [self._choice(submit, prompt, index) for index in range(request.n)]
        return Attempt(
            number=submit.attempt,
            deadline=now + submit.remaining_ms / 1000,
            arrived=now,
            is_background=request.urgency is Urgency.BACKGROUND,
            keeps_cache=request.cache_prompt,
            choices=choices,
        )

    def count(self, request: InferRequest) -> int:
        """Return how many tokens the prompt has; raises ``MeshError``."""
        return self._prompts.count(request)

    def _choice(self, submit: Submit, prompt: Prompt, index: int) -> Sequence:
        request = submit.request
        drawing = resolve(request.sampling, self._defaults, self._decoder.num_vocabulary, index)
        constraint = self._constraint(request, prompt)
        reader = self._dialect.reader(request, prompt.text)
        sampler, reporting = self._sampler(request, drawing, constraint)
        items = reporting.items if reporting else None
        voice = Voice(submit.attempt, index, stops=request.stop, reader=reader, items=items)
        for token in submit.emitted:
            sampler.replay(token)
            voice.push(token, self._decoder.piece(token))
        tokens = [*prompt.tokens, *submit.emitted]
        return Sequence(
            attempt=submit.attempt,
            index=index,
            is_background=request.urgency is Urgency.BACKGROUND,
            is_watched=request.stream,
            domain=domain_of(request.tenant, submit.attempt, cache_prompt=request.cache_prompt),
            tokens=tokens,
            num_prompt=len(prompt.tokens),
            num_initial=len(tokens),
            max_length=self._max_length(len(prompt.tokens), request),
            ends=self._decoder.ends.union(request.sampling.stop_token_ids),
            voice=voice,
            sampler=sampler,
            constraint=constraint,
            scores=None if index or submit.emitted else self._scores(request, prompt),
            drafter=Drafter(tokens),
            num_learnt=len(tokens),
        )

    def _constraint(self, request: InferRequest, prompt: Prompt) -> Constraint | None:
        grammar = self._dialect.grammar(request, prompt.text)
        if grammar is None:
            return None
        if self._constraints is None:
            self._constraints = self._make_constraints()
        return self._constraints.start(grammar)

    def _sampler(
        self, request: InferRequest, drawing: Drawing, constraint: Constraint | None
    ) -> tuple[Sampler, Reporting | None]:
        """Return what draws a choice's tokens; a plain one stays in C altogether."""
        decoder = self._decoder
        sampler: Sampler = decoder.sampler(drawing)
        if constraint is not None:
            sampler = Masked(sampler, constraint, decoder.logits)
        if request.logprobs is None:
            return sampler, None
        reporting = Reporting(sampler, decoder.logits, decoder.piece, request.logprobs)
        return reporting, reporting

    def _scores(self, request: InferRequest, prompt: Prompt) -> PromptScores | None:
        """Return what is to be found out about the prompt; a resumed attempt has told it before."""
        if not request.prompt_logprobs or request.logprobs is None:
            return None
        if len(prompt.given) * (1 + request.logprobs) > MOST_SCORES:
            msg = f"log-probabilities of {len(prompt.given)} tokens are more than one answer holds"
            raise InvalidRequest(msg, param="prompt_logprobs")
        decoder = self._decoder
        return PromptScores(
            prompt.given,
            decoder.logits,
            decoder.piece,
            count=request.logprobs,
            rows=decoder.max_rows,
        )

    def _max_length(self, num_prompt: int, request: InferRequest) -> int:
        if request.max_tokens is None:
            return self._context
        return min(self._context, num_prompt + request.max_tokens)

    def _check_emitted(self, emitted: Items[int]) -> None:
        vocabulary = self._decoder.num_vocabulary
        if any(not 0 <= token < vocabulary for token in emitted):
            msg = "emitted holds a token that the model does not have"
            raise InvalidRequest(msg, param="emitted")
