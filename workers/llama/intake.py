"""From an order to a sequence that can be scheduled."""

from collections.abc import Sequence as Items

from mesh.errors import ContextLengthExceeded, InvalidRequest
from schemas.inference import ChatMessage, Sampling
from workers.llama.decoder import Decoder
from workers.llama.messages import Submit
from workers.llama.sampling import Defaults, resolve
from workers.llama.sequence import Sampler, Sequence
from workers.llama.template import ChatTemplate
from workers.llama.text import TextStream


class Intake:
    """Prepares prompts, samplers and limits for one model."""

    def __init__(
        self, decoder: Decoder, template: ChatTemplate, defaults: Defaults, context: int
    ) -> None:
        """``context``: tokens per sequence."""
        self._decoder = decoder
        self._template = template
        self._defaults = defaults
        self._context = context

    def prepare(self, submit: Submit, slot: int, now: float) -> Sequence:
        """Return the sequence of an attempt; raises ``MeshError``."""
        prompt = self._prompt(submit.messages)
        return Sequence(
            attempt=submit.attempt,
            slot=slot,
            tokens=[*prompt, *submit.emitted],
            num_prompt=len(prompt),
            num_initial=len(prompt) + len(submit.emitted),
            max_length=self._max_length(len(prompt), submit.max_tokens),
            deadline=now + submit.remaining_ms / 1000,
            text=TextStream(submit.stop),
            sampler=self._sampler(submit.sampling, submit.emitted),
        )

    def _prompt(self, messages: Items[ChatMessage]) -> list[int]:
        text = self._template.render(messages)
        # A text that cannot fit is not tokenized: that would hold up all running streams.
        if (at_least := len(text.encode()) // self._decoder.longest_token) >= self._context:
            raise self._too_long(f"at least {at_least}")
        tokens = self._decoder.tokenize(text)
        if not tokens:
            msg = "the messages give an empty prompt"
            raise InvalidRequest(msg, param="messages")
        if len(tokens) >= self._context:
            raise self._too_long(str(len(tokens)))
        return tokens

    def _too_long(self, count: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {count} tokens; the model's context is {self._context}, "
            "of which at least one is needed for the answer",
            param="messages",
        )

    def _max_length(self, num_prompt: int, max_tokens: int | None) -> int:
        if max_tokens is None:
            return self._context
        return min(self._context, num_prompt + max_tokens)

    def _sampler(self, wanted: Sampling, emitted: Items[int]) -> Sampler:
        vocabulary = self._decoder.num_vocabulary
        if any(not 0 <= token < vocabulary for token in emitted):
            msg = "emitted holds a token that the model does not have"
            raise InvalidRequest(msg, param="emitted")
        sampler = self._decoder.sampler(resolve(wanted, self._defaults, vocabulary))
        for token in emitted:
            sampler.replay(token)
        return sampler
