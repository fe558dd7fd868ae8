"""The embedding loop on an encoder that needs no model, and its pure parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mesh.errors import ContextLengthExceeded, InvalidRequest, MeshError, Unsupported
from mesh.vectors import unpack
from schemas.failures import FailureCode
from schemas.inference import ChatMessage, InferRequest, Task, Urgency
from workers.llama.embedder import READ_TOKENS, Embedder
from workers.llama.gguf_header import BadModelFile, Header
from workers.llama.inputs import InputReader
from workers.llama.messages import Cancel, Output, Step, Submit
from workers.llama.packing import pack
from workers.llama.pooling import Pooling, pooling_of
from workers.llama.vectors import scores, unit_vectors
from workers.llama.waits import LASTS
from workers.slices import PIECE_BYTES, slices

CONTEXT = 16
BATCH = 10
SEQUENCES = 4


@dataclass
class FakeEncoder:
    """A token per letter; an input's row is its length and its first token."""

    num_vocabulary: int = 128
    width: int = 2
    longest_token: int | None = 1
    batches: list[list[Sequence[int]]] = field(default_factory=list)
    value: float = 1.0

    def tokenize(self, text: str) -> list[int]:
        return [ord(letter) for letter in text.strip()]

    def pair(self, query: str, document: str) -> list[int]:
        return [*self.tokenize(query), 0, *self.tokenize(document)]

    def encode(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.batches.append(list(inputs))
        return np.array([[len(i), i[0] * self.value] for i in inputs], np.float32)


@dataclass
class Queue:
    """Inputs of an attempt, by their lengths."""

    lengths: list[int]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Slow(FakeEncoder):
    """Takes a millisecond per token."""

    clock: Clock = field(default_factory=Clock)

    def encode(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.clock.now += sum(map(len, inputs)) / 1000
        return super().encode(inputs)


@dataclass
class Bench:
    """An embedder and what it runs on."""

    pooling: Pooling = Pooling.MEAN
    slots: int = 3
    batch: int = BATCH
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        reader = InputReader(self.encoder, self.pooling, CONTEXT)
        self.embedder = Embedder(
            self.encoder,
            reader,
            slots=self.slots,
            batch=self.batch,
            sequences=SEQUENCES,
            clock=self.clock,
        )

    def submit(self, attempt: int, *inputs: Any, **changes: Any) -> None:
        settings: dict[str, Any] = {"model": "m", "task": Task.EMBED, "inputs": inputs}
        request = InferRequest(**settings | changes)
        self.embedder.handle(Submit(attempt, remaining_ms=1000, request=request))

    def run(self) -> list[Output]:
        """Step until nothing is left to do; return all output."""
        outputs: list[Output] = []
        while not self.embedder.is_idle:
            outputs += self.embedder.step().outputs
        return outputs

    @property
    def batches(self) -> list[list[str]]:
        """The texts that were computed together."""
        return [["".join(map(chr, i)) for i in batch] for batch in self.encoder.batches]


def test_a_batch_takes_whole_inputs_in_turn_while_they_fit() -> None:
    """Attempts take turns; what does not fit waits, and with it what comes behind it."""
    one, two, three = Queue([3, 3, 3]), Queue([4, 1]), Queue([])
    assert pack([one, two, three], tokens=8, sequences=9) == [(one, 1), (two, 2)]
    assert pack([one, two], tokens=10, sequences=9) == [(one, 2), (two, 1)]
    assert pack([one, two], tokens=11, sequences=9) == [(one, 2), (two, 2)]
    assert pack([one, two], tokens=99, sequences=3) == [(one, 2), (two, 1)]
    assert pack([], tokens=10, sequences=9) == []


def test_an_input_larger_than_a_batch_goes_alone() -> None:
    """The first in line is served in any case, others only where they fit."""
    large, small = Queue([50, 1]), Queue([1])
    assert pack([large, small], tokens=10, sequences=9) == [(large, 1)]
    assert pack([small, large], tokens=10, sequences=9) == [(small, 1)]


def test_vectors_come_in_order_and_are_counted() -> None:
    """An attempt's vectors follow one another, however the batches fell; then comes its end."""
    bench = Bench()
    bench.submit(1, "aaaa", "bbbb", "cccc", "d", (101, 102))
    outputs = bench.run()
    assert bench.batches == [["aaaa", "bbbb"], ["cccc", "d", "ef"]]
    assert [(output.index, len(output.vectors)) for output in outputs[:-1]] == [(0, 2), (2, 3)]
    assert outputs[-1].reason == "stop"
    assert outputs[-1].usage is not None
    assert outputs[-1].usage.prompt_tokens == 15


def test_attempts_share_batches_fairly() -> None:
    """A small attempt is not held up by a large one that came first."""
    bench = Bench()
    bench.submit(1, *["aaaaa"] * 20)
    bench.submit(2, "bbbbb", "ccccc")
    outputs = bench.run()
    assert bench.batches[:2] == [["aaaaa", "bbbbb"], ["aaaaa", "ccccc"]]
    assert next(output.attempt for output in outputs if output.reason) == 2


def test_a_long_input_is_not_overtaken_for_ever() -> None:
    """Whoever got nothing of a batch comes first in the next."""
    bench = Bench()
    bench.submit(1, *["aaaa"] * 9)
    bench.submit(2, "b" * 12)
    bench.run()
    assert bench.batches[1] == ["b" * 12]


def test_cancel_and_deadline_hold_between_batches() -> None:
    """A cancelled attempt says nothing more; a late one says why it ended."""
    bench = Bench()
    bench.submit(1, *["aaaaaaaaa"] * 5)
    bench.submit(2, *["bbbbbbbbb"] * 5)
    bench.embedder.step()
    bench.embedder.handle(Cancel(1))
    bench.clock.now = 2.0
    outputs = bench.run()
    assert [(output.attempt, output.failure) for output in outputs] == [
        (2, FailureCode.DEADLINE_EXCEEDED)
    ]
    assert len(bench.batches) == 1


def test_no_slot_is_no_place() -> None:
    """Beyond its slots the loop declines, and a place that came free is taken again."""
    bench = Bench(slots=1)
    bench.submit(1, "a")
    bench.submit(2, "b")
    assert [o.failure for o in bench.run() if o.attempt == 2] == [FailureCode.BUSY]
    bench.submit(3, "c")
    assert bench.run()[-1].reason == "stop"


def test_background_inputs_come_after_all_interactive_ones() -> None:
    """They wait while there is an interactive attempt, also one whose texts are still read."""
    bench = Bench()
    bench.submit(1, *["aaaaa"] * 4, urgency=Urgency.BACKGROUND)
    bench.embedder.step()
    bench.submit(2, *["bbbbb"] * 3)
    outputs = bench.run()
    assert bench.batches == [["aaaaa"] * 2, ["bbbbb"] * 2, ["bbbbb"], ["aaaaa"] * 2]
    assert [output.attempt for output in outputs if output.reason] == [2, 1]


def test_background_inputs_take_no_slot_from_interactive_attempts() -> None:
    """With every slot theirs, as many interactive attempts are taken; background ones are not."""
    bench = Bench(slots=1)
    bench.submit(1, "a", urgency=Urgency.BACKGROUND)
    bench.submit(2, "b", urgency=Urgency.BACKGROUND)
    bench.submit(3, "c")
    bench.submit(4, "d")
    outputs = bench.run()
    assert {o.attempt for o in outputs if o.failure is FailureCode.BUSY} == {2, 4}
    assert {o.attempt for o in outputs if o.reason} == {1, 3}


def test_background_batches_stay_short_where_interactive_inputs_come() -> None:
    """A batch takes a tenth of what an interactive attempt takes, if that is worth a batch."""
    clock = Clock()
    bench = Bench(encoder=Slow(clock=clock), clock=clock, batch=100)
    job = ["b" * CONTEXT] * 4
    bench.submit(1, *job, urgency=Urgency.BACKGROUND)
    bench.submit(2, "a" * CONTEXT)
    bench.run()
    bench.submit(3, *job, urgency=Urgency.BACKGROUND)
    bench.run()
    assert [len(batch) for batch in bench.batches] == [1, 2, 2, 2, 2]
    clock.now += LASTS
    bench.submit(4, *job, urgency=Urgency.BACKGROUND)
    bench.run()
    assert len(bench.batches[-1]) == 4


def test_reading_texts_does_not_hold_up_a_batch() -> None:
    """Texts become tokens a share at a time, while others' inputs are computed."""
    bench = Bench()
    bench.submit(1, *["a" * CONTEXT] * (2 * READ_TOKENS // CONTEXT))
    bench.submit(2, "b")
    first: Step = bench.embedder.step()
    assert [output.attempt for output in first.outputs] == [2, 2]
    assert bench.batches == [["b"]]


def test_a_bad_input_ends_its_attempt_before_anything_is_computed() -> None:
    """All inputs are read before the first is computed, so that none is computed in vain."""
    bench = Bench()
    bench.submit(1, "aaa", "b" * (CONTEXT + 1))
    (output,) = bench.run()
    assert (output.failure, output.param) == (FailureCode.CONTEXT_LENGTH_EXCEEDED, "inputs[1]")
    assert not bench.batches


def test_numbers_that_are_none_are_a_failure() -> None:
    """A model that computes infinities ends the attempt, and sends nothing of them."""
    bench = Bench(encoder=FakeEncoder(value=math.inf))
    bench.submit(1, "a")
    (output,) = bench.run()
    assert output.failure is FailureCode.INTERNAL


def test_documents_get_scores() -> None:
    """A ranker gives the first number of each pair's row."""
    bench = Bench(pooling=Pooling.RANK)
    bench.submit(1, "ab", "abc", task=Task.RERANK, query="qq")
    *pieces, end = bench.run()
    assert [score for piece in pieces for score in piece.scores] == [5.0, 6.0]
    assert end.reason == "stop"


def test_warming_up_measures_a_rate() -> None:
    """The first figures come before the first request."""
    bench = Bench()
    bench.clock.now = 1.0
    bench.embedder.warm_up()
    assert [len(batch[0]) for batch in bench.encoder.batches] == [1, BATCH]


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"inputs": ()}, InvalidRequest, "inputs"),
        ({"dimensions": 0}, InvalidRequest, "dimensions"),
        ({"dimensions": 3}, InvalidRequest, "dimensions"),
        ({"task": Task.RERANK, "query": "q"}, Unsupported, "model"),
        (
            {"task": Task.GENERATE, "messages": (ChatMessage(role="user"),)},
            Unsupported,
            "model",
        ),
    ],
)
def test_a_request_is_checked_first(
    changes: dict[str, Any], error: type[MeshError], param: str
) -> None:
    """What needs no reading is refused at once."""
    settings: dict[str, Any] = {"model": "m", "task": Task.EMBED, "inputs": ("a",)}
    reader = InputReader(FakeEncoder(), Pooling.MEAN, CONTEXT)
    with pytest.raises(error) as caught:
        reader.check(InferRequest(**settings | changes))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("", InvalidRequest),
        ("  ", InvalidRequest),
        ((), InvalidRequest),
        ((1, 128), InvalidRequest),
        ((1, -1), InvalidRequest),
        ("a" * 17, ContextLengthExceeded),
        ((1,) * 17, ContextLengthExceeded),
    ],
)
def test_an_input_at_fault_is_named(entry: str | tuple[int, ...], error: type[MeshError]) -> None:
    """Empty, foreign and too long inputs are refused by their place."""
    reader = InputReader(FakeEncoder(), Pooling.MEAN, CONTEXT)
    with pytest.raises(error) as caught:
        reader.read(InferRequest(model="m", task=Task.EMBED, inputs=("ok", entry)), 1)
    assert caught.value.param == "inputs[1]"


def test_a_text_that_cannot_fit_is_not_tokenized() -> None:
    """A text of megabytes costs nothing where tokens have a longest text; elsewhere it may fit."""
    encoder = FakeEncoder(longest_token=4)
    request = InferRequest(model="m", task=Task.EMBED, inputs=(" " * 10_000 + "a",))
    with pytest.raises(ContextLengthExceeded, match="at least 2500"):
        InputReader(encoder, Pooling.MEAN, CONTEXT).read(request, 0)
    encoder.longest_token = None
    assert InputReader(encoder, Pooling.MEAN, CONTEXT).read(request, 0) == [97]


def test_vectors_have_length_one_whatever_is_kept() -> None:
    """Shortened vectors are normalised anew; a zero row stays zero."""
    rows = np.array([[3, 4, 12], [0, 0, 0]], np.float32)
    whole, zero = (unpack(raw) for raw in unit_vectors(rows))
    assert whole == pytest.approx([3 / 13, 4 / 13, 12 / 13])
    assert zero == [0, 0, 0]
    assert unpack(unit_vectors(rows, 2)[0]) == pytest.approx([0.6, 0.8])
    assert scores(rows) == (3.0, 0.0)


def test_pieces_fit_the_bus() -> None:
    """Many vectors are cut into pieces, each of which knows where it belongs."""
    vectors = [bytes([n]) * 4096 for n in range(100)]
    pieces = list(slices(vectors))
    assert [start for start, _ in pieces] == [0, 48, 96]
    assert [vector for _, piece in pieces for vector in piece] == vectors
    assert all(sum(map(len, piece)) <= PIECE_BYTES for _, piece in pieces)


@pytest.mark.parametrize(
    ("architecture", "pooling", "expected"),
    [
        ("llama", None, None),
        ("llama", 0, None),
        ("qwen3", 3, Pooling.LAST),
        ("bert", 2, Pooling.CLS),
        ("bert", 0, Pooling.MEAN),
        ("nomic-bert", None, Pooling.MEAN),
        ("bert", 4, Pooling.RANK),
    ],
)
def test_the_header_tells_embedding_models(
    architecture: str, pooling: int | None, expected: Pooling | None
) -> None:
    """A pooling type makes an embedding model, and an encoder is one in any case."""
    assert pooling_of(_header(architecture, pooling)) is expected


def test_an_unknown_pooling_is_a_bad_file() -> None:
    """A number that llama.cpp would abort on is refused before it sees it."""
    with pytest.raises(BadModelFile, match="pooling type 9"):
        pooling_of(_header("bert", 9))


def _header(architecture: str, pooling: int | None) -> Header:
    values: dict[str, Any] = {"general.architecture": architecture}
    if pooling is not None:
        values[f"{architecture}.pooling_type"] = pooling
    return Header(values=values, vocabulary=0, weight_bytes=0, file_bytes=0)
