"""What an answer has said so far, as another worker needs it to go on in the middle of a word."""

from schemas.frames import Delta
from schemas.inference import InferRequest, Task


class Trail:
    """Token ids of the output up to now.

    A worker with the same model file continues from prompt + ids exactly where the lost one
    stopped. That needs ids for everything that was said (an upstream tells none), and one choice.
    """

    def __init__(self, request: InferRequest) -> None:
        self._is_whole = request.n == 1 and request.task is Task.GENERATE
        self._ids: list[int] = []
        self.digest = ""
        """Of the model file that computed the output; empty if the worker did not say."""

    @property
    def ids(self) -> tuple[int, ...]:
        """What to replay."""
        return tuple(self._ids)

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to replay."""
        return bool(self._ids)

    @property
    def can_be_followed(self) -> bool:
        """Whether another worker could go on from here."""
        return self._is_whole and bool(self.digest) and bool(self._ids)

    def begin(self, digest: str) -> None:
        """Note the model file of the worker that accepted the request."""
        if self._ids and digest != self.digest:
            self._is_whole = False
        self.digest = digest

    def add(self, delta: Delta) -> None:
        """Take in new output."""
        self._ids += delta.ids
        if not delta.ids and (delta.text or delta.reasoning or delta.tool_calls):
            self._is_whole = False
