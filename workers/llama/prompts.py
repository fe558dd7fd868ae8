"""A request's prompt as tokens: through the model's chat template, or as it is."""

import msgspec

from mesh.errors import ContextLengthExceeded, InvalidRequest
from schemas.inference import InferRequest
from workers.llama.decoder import Decoder
from workers.llama.template import ChatTemplate
from workers.llama.toolcalls.choice import offered


class Prompt(msgspec.Struct, frozen=True):
    """What a request's answer goes on from; ``text``: empty where tokens were given."""

    text: str
    tokens: list[int]


class Prompts:
    """Makes prompts for one model."""

    def __init__(self, decoder: Decoder, template: ChatTemplate, context: int) -> None:
        """``context``: tokens per sequence."""
        self._decoder = decoder
        self._template = template
        self._context = context

    def read(self, request: InferRequest) -> Prompt:
        """Return the prompt; raises ``InvalidRequest`` or ``ContextLengthExceeded``."""
        prompt, param = self._make(request)
        if len(prompt.tokens) >= self._context:
            raise self._too_long(str(len(prompt.tokens)), param)
        return prompt

    def count(self, request: InferRequest) -> int:
        """Return the prompt's length, which may be beyond the context; raises as ``read`` does.

        Only of a text too long to be tokenized while others wait there is no count.
        """
        return len(self._make(request)[0].tokens)

    def _make(self, request: InferRequest) -> tuple[Prompt, str]:
        """Return the prompt, and the field it comes from."""
        text, param = "", "prompt"
        if isinstance(request.prompt, tuple):
            tokens = self._given(request.prompt)
        elif request.prompt is not None:
            text = request.prompt
            tokens = self._tokenize(text, param)
        else:
            text, param = self._render(request), "messages"
            tokens = self._tokenize(text, param)
        if not tokens:
            msg = f"'{param}' gives an empty prompt"
            raise InvalidRequest(msg, param=param)
        return Prompt(text, tokens), param

    def _render(self, request: InferRequest) -> str:
        return self._template.render(request.messages, offered(request), request.template)

    def _given(self, prompt: tuple[int, ...]) -> list[int]:
        """Take tokens as they are: who sends tokens has put the special ones where they belong."""
        if any(not 0 <= token < self._decoder.num_vocabulary for token in prompt):
            msg = "'prompt' holds a token that the model does not have"
            raise InvalidRequest(msg, param="prompt")
        return list(prompt)

    def _tokenize(self, text: str, param: str) -> list[int]:
        # A text that cannot fit is not tokenized: that would hold up all running streams.
        if (at_least := len(text.encode()) // self._decoder.longest_token) >= self._context:
            raise self._too_long(f"at least {at_least}", param)
        return self._decoder.tokenize(text)

    def _too_long(self, count: str, param: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {count} tokens; the model's context is {self._context}, "
            "of which at least one is needed for the answer",
            param=param,
        )
