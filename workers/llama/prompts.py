"""A request's prompt as tokens: through the model's chat template, as it is, or around a gap."""

import msgspec

from mesh.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from schemas.inference import InferRequest
from workers.llama.decoder import Decoder
from workers.llama.template import ChatTemplate
from workers.llama.toolcalls.choice import offered


class Prompt(msgspec.Struct, frozen=True):
    """What an answer goes on from; ``text``: empty where tokens were given or a gap is filled.

    given: places of the tokens that a client sent as its prompt, or that its text was made into.
    """

    text: str
    tokens: list[int]
    given: range


class Prompts:
    """Makes prompts for one model."""

    def __init__(self, decoder: Decoder, template: ChatTemplate, context: int) -> None:
        """``context``: tokens per sequence."""
        self._decoder = decoder
        self._template = template
        self._context = context

    def read(self, request: InferRequest) -> Prompt:
        """Return the prompt.

        Raises ``InvalidRequest``, ``ContextLengthExceeded``, and ``Unsupported`` for a suffix.
        """
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
        text, param, given = "", "prompt", None
        if request.suffix:
            tokens, given = self._around_gap(request)
        elif isinstance(request.prompt, tuple):
            tokens = self._given(request.prompt)
            given = range(len(tokens))
        elif request.prompt is not None:
            text = request.prompt
            tokens = self._tokenize(text, param)
        else:
            text, param = self._render(request), "messages"
            tokens = self._tokenize(text, param)
        if not tokens:
            msg = f"'{param}' gives an empty prompt"
            raise InvalidRequest(msg, param=param)
        return Prompt(text, tokens, self._spelled(tokens) if given is None else given), param

    def _render(self, request: InferRequest) -> str:
        return self._template.render(request.messages, offered(request), request.template)

    def _spelled(self, tokens: list[int]) -> range:
        """Return the places of a text's tokens, without the BOS that was put before them."""
        has_bos = not self._decoder.piece(tokens[0])
        return range(int(has_bos), len(tokens))

    def _around_gap(self, request: InferRequest) -> tuple[list[int], range]:
        """Return a prompt whose continuation fills the gap, and where its beginning stands."""
        layout = self._decoder.infill
        if layout is None:
            msg = (
                f"{request.model} fills no gap before a suffix: "
                "its vocabulary has no tokens for filling in the middle"
            )
            raise Unsupported(msg, param="suffix")
        prompt = request.prompt or ""
        before = self._words(prompt, "prompt") if isinstance(prompt, str) else self._given(prompt)
        return layout.arrange(before, self._words(request.suffix, "suffix")), layout.place(before)

    def _given(self, prompt: tuple[int, ...]) -> list[int]:
        """Take tokens as they are: who sends tokens has put the special ones where they belong."""
        if any(not 0 <= token < self._decoder.num_vocabulary for token in prompt):
            msg = "'prompt' holds a token that the model does not have"
            raise InvalidRequest(msg, param="prompt")
        return list(prompt)

    def _tokenize(self, text: str, param: str) -> list[int]:
        self._check_size(text, param)
        return self._decoder.tokenize(text)

    def _words(self, text: str, param: str) -> list[int]:
        self._check_size(text, param)
        return self._decoder.words(text)

    def _check_size(self, text: str, param: str) -> None:
        # A text that cannot fit is not tokenized: that would hold up all running streams.
        if (at_least := len(text.encode()) // self._decoder.longest_token) >= self._context:
            raise self._too_long(f"at least {at_least}", param)

    def _too_long(self, count: str, param: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {count} tokens; the model's context is {self._context}, "
            "of which at least one is needed for the answer",
            param=param,
        )
