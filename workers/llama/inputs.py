"""The inputs of one embedding or rerank request: checked, and turned into tokens one at a time."""

from collections.abc import Sequence

from mesh.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from schemas.inference import InferRequest, Task
from workers.llama.encoder import Encoder
from workers.llama.pooling import Pooling


class InputReader:
    """Reads requests for one model."""

    def __init__(self, encoder: Encoder, pooling: Pooling, context: int) -> None:
        """``context``: tokens per input."""
        self._encoder, self._pooling, self._context = encoder, pooling, context

    def check(self, request: InferRequest) -> None:
        """Raise ``InvalidRequest`` or ``Unsupported`` for what can be told before any work."""
        self._check_task(request)
        if not request.inputs:
            raise InvalidRequest("there is nothing to compute: inputs is empty", param="inputs")
        if request.task is Task.RERANK and not request.query:
            raise InvalidRequest("the query is empty", param="query")
        dimensions = request.dimensions
        if dimensions is not None and not 1 <= dimensions <= self._encoder.width:
            raise InvalidRequest(
                f"{request.model} makes vectors of {self._encoder.width} components; "
                f"dimensions is from 1 to that, not {dimensions}",
                param="dimensions",
            )

    def read(self, request: InferRequest, index: int) -> Sequence[int]:
        """Return the tokens of one input; raises ``MeshError`` naming it."""
        where = f"inputs[{index}]"
        entry = request.inputs[index]
        if request.task is Task.RERANK:
            tokens = self._pair(request.query, entry, where)
        elif isinstance(entry, str):
            tokens = self._tokenize(entry, where)
        else:
            tokens = self._given(entry, where)
        if not tokens:
            raise InvalidRequest("an input is empty", param=where)
        if len(tokens) > self._context:
            raise self._too_long(str(len(tokens)), where)
        return tokens

    def _check_task(self, request: InferRequest) -> None:
        made_for = Task.RERANK if self._pooling is Pooling.RANK else Task.EMBED
        if request.task is made_for:
            return
        is_for = "ranking texts (rerank)" if made_for is Task.RERANK else "embeddings"
        raise Unsupported(
            f"{request.model} is a model for {is_for}; choose another model to {request.task}",
            param="model",
        )

    def _tokenize(self, text: str, where: str) -> Sequence[int]:
        if not text:
            raise InvalidRequest("an input is empty", param=where)
        self._check_size(text, where)
        return self._encoder.tokenize(text)

    def _pair(self, query: str, entry: str | tuple[int, ...], where: str) -> Sequence[int]:
        if not isinstance(entry, str):
            raise Unsupported("a text to be ranked is given as text, not as tokens", param=where)
        self._check_size(query, "query")
        self._check_size(entry, where)
        return self._encoder.pair(query, entry)

    def _given(self, tokens: tuple[int, ...], where: str) -> Sequence[int]:
        """Take tokens as they are: who sends tokens has put the special ones where they belong."""
        if any(not 0 <= token < self._encoder.num_vocabulary for token in tokens):
            raise InvalidRequest(
                "an input holds a token that the model does not have; "
                f"its tokens are below {self._encoder.num_vocabulary}",
                param=where,
            )
        return tokens

    def _check_size(self, text: str, where: str) -> None:
        """Refuse a text that cannot fit without tokenizing it, which would hold up all others."""
        longest = self._encoder.longest_token
        if longest is not None and (at_least := len(text.encode()) // longest) > self._context:
            raise self._too_long(f"at least {at_least}", where)

    def _too_long(self, count: str, where: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"an input has {count} tokens; the model takes {self._context} per input", param=where
        )
