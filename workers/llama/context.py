"""llama.cpp behind the verbs the step loop needs.

Uses the C API directly: the ``Llama`` class of the binding knows one sequence and blocks.
"""

import ctypes
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab
from numpy.typing import NDArray

from workers.llama.bank import Rows
from workers.llama.batch import Batch
from workers.llama.cache import Reuse
from workers.llama.chain import SamplerChain
from workers.llama.fit import padded
from workers.llama.grain import GROUP
from workers.llama.greedy import Greedy
from workers.llama.infill import Infill
from workers.llama.kv_rows import KvRows
from workers.llama.library import Log, fresh_log, llama
from workers.llama.sampling import Drawing
from workers.llama.sequence import Sampler, Work
from workers.llama.sizes import num_rows

PIECE_BYTES = 256
SPARE_ROWS = 2 * GROUP
"""Rows of a step beyond those asked for: its last piece and the padding of that."""
SPECIAL_TOKENS = 8
"""Room for what tokenizers add: BOS, EOS, a leading blank."""


class LoadFailed(Exception):
    """llama.cpp cannot load the model or allocate its context."""


class DecodeFailed(Exception):
    """llama.cpp could not compute a step; the context is no longer to be trusted."""


@dataclass(frozen=True, kw_only=True)
class ContextSettings:
    """Sizes of a context. context: tokens per sequence; batch: tokens per step at most."""

    path: str
    slots: int
    context: int
    batch: int
    threads: int
    gpu_layers: int


class LlamaContext:
    """A loaded model with a KV cache of ``slots`` streams, one for each sequence."""

    def __init__(self, settings: ContextSettings, wanted: Callable[[float], bool]) -> None:
        """Load; ``wanted`` is told how much is done, 0 to 1, and gives up by returning false.

        Raises ``LoadFailed``.
        """
        self._log = fresh_log()
        llama.llama_backend_init()
        self._model = _load(settings, wanted, self._log)
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self.max_rows = num_rows(settings.slots)
        self._context = llama.llama_init_from_model(
            self._model, _context_params(settings, self.max_rows)
        )
        if not self._context:
            msg = f"llama.cpp cannot make a context of this size: {self._log.reason}"
            raise LoadFailed(msg)
        self._memory = llama.llama_get_memory(self._context)
        self._rows: KvRows | None = None
        self._scratch: Rows = np.empty(0, np.uint8)
        capacity = llama.llama_n_batch(self._context)
        self._batch = Batch(llama.llama_batch(), capacity, settings.slots)
        self._pieces: dict[int, bytes] = {}
        self._views: dict[int, NDArray[np.float32]] = {}
        """Of the rows of logits by their addresses, which are the same in every step."""
        self._depth = settings.context
        self.num_vocabulary: int = llama.llama_vocab_n_tokens(self._vocabulary)
        self.ends = frozenset(
            token
            for token in range(self.num_vocabulary)
            if llama.llama_vocab_is_eog(self._vocabulary, token)
        )
        self.longest_token = max(
            len(llama.llama_vocab_get_text(self._vocabulary, token))
            for token in range(self.num_vocabulary)
        )
        self.bos = self._text(llama.llama_vocab_bos(self._vocabulary))
        self.eos = self._text(llama.llama_vocab_eos(self._vocabulary))
        self.infill = self._infill()

    def tokenize(self, text: str) -> list[int]:
        """Return the prompt's tokens; the model's BOS comes first, once, if it wants one."""
        if self.bos and llama.llama_vocab_get_add_bos(self._vocabulary):
            text = text.removeprefix(self.bos)
        return self._tokens(text, has_marks=True)

    def words(self, text: str) -> list[int]:
        """Return the tokens of a text that names no control token, whatever stands in it."""
        return self._tokens(text, has_marks=False)

    def piece(self, token: int) -> bytes:
        """Return the bytes a token stands for; control tokens stand for none, unless shown."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._piece(token)
        return found

    def show(self, texts: Iterable[str]) -> None:
        """Let the control tokens of these texts stand for their text from now on."""
        for text in texts:
            for token in self.tokenize(text):
                if self._text(token) == text:
                    self._pieces[token] = text.encode()

    def grammar_tokenizer(self) -> LLTokenizer:
        """Return the vocabulary for constrained output; all tokens that end a text end it there.

        Made anew by every call, at 0.1 s and more: callers keep it.
        """
        with warnings.catch_warnings():
            # llguidance still calls a function of the binding by its older name.
            warnings.simplefilter("ignore", DeprecationWarning)
            return lltokenizer_from_vocab(self._vocabulary, eos_token=sorted(self.ends))

    def sampler(self, drawing: Drawing) -> Sampler:
        """Return a new sampler."""
        if drawing.is_plain:
            return Greedy(self.logits)
        return SamplerChain(self._context, drawing, self.num_vocabulary, self._depth, self.ends)

    def decode(self, plan: Sequence[Work], idle: Sequence[int] = ()) -> list[int]:
        """Compute one step; return for each work its first row of logits (-1: it has none).

        idle: empty streams that are computed along, and empty again afterwards. Raises
        ``DecodeFailed``.
        """
        rows = self._batch.fill(plan, idle)
        code = llama.llama_decode(self._context, self._batch.native)
        if code:
            msg = f"llama_decode returned {code}"
            raise DecodeFailed(msg)
        for slot in idle:
            self.forget(slot)
        for work in plan:
            if work.padding:
                self.trim(work.sequence.slot, work.start + len(work.tokens))
        return rows

    def use_threads(self, single: int, batch: int) -> None:
        """Compute steps of one row with ``single`` threads and all others with ``batch``."""
        llama.llama_set_n_threads(self._context, single, batch)

    def try_out(self, tokens: int) -> None:
        """Compute a step of so many meaningless tokens, if it holds that many, and forget them.

        This is for measuring. Raises ``DecodeFailed``.
        """
        tokens = min(tokens, llama.llama_n_batch(self._context))
        array = (llama.llama_token * tokens)()
        code = llama.llama_decode(self._context, llama.llama_batch_get_one(array, tokens))
        llama.llama_memory_clear(self._memory, False)
        if code:
            msg = f"llama_decode returned {code}"
            raise DecodeFailed(msg)

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return a row of the last step's logits: a view that is valid until the next step."""
        found = llama.llama_get_logits_ith(self._context, row)
        address = ctypes.addressof(found.contents)
        view = self._views.get(address)
        if view is None:
            view = self._views[address] = np.ctypeslib.as_array(found, (self.num_vocabulary,))
        return view

    def examine(self, slot: int, length: int) -> Reuse:
        """Return what can be done with what the cache holds of a sequence of so many tokens."""
        state = self._state(slot)
        if state is None:
            return Reuse.NONE
        self._rows = KvRows.of(state, length)
        return Reuse.WHOLE if self._rows is None else Reuse.PART

    def save(self, slot: int, start: int, stop: int) -> Rows | None:
        """Return the rows of a part of a sequence, or all of one that cannot be cut.

        ``None`` if llama.cpp fails to write it.
        """
        state = self._state(slot)
        if state is None:
            return None
        return state.copy() if self._rows is None else self._rows.rows(state, start, stop)

    def restore(self, slot: int, parts: Sequence[Rows]) -> bool:
        """Fill an empty sequence; it stays empty where that is not possible."""
        if self._rows is None:
            return self._put(slot, parts[0])
        state = self._room(self._rows.size(sum([len(part) for part in parts])))
        self._rows.write(parts, state)
        return self._put(slot, state)

    def move(self, source: int, target: int) -> bool:
        """Give a sequence an empty one's place."""
        state = self._state(source)
        if state is None or not self._put(target, state):
            return False
        self.forget(source)
        return True

    def trim(self, slot: int, length: int) -> bool:
        """Shorten a sequence; returns false where the model's memory cannot be cut."""
        return bool(llama.llama_memory_seq_rm(self._memory, slot, length, -1))

    def forget(self, slot: int) -> None:
        """Empty a sequence's part of the KV cache."""
        llama.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def _state(self, slot: int) -> Rows | None:
        """Return a sequence as llama.cpp writes it, in memory that the next call uses again."""
        size = llama.llama_state_seq_get_size(self._context, slot)
        state = self._room(size)
        written = llama.llama_state_seq_get_data(self._context, _pointer(state), size, slot)
        return state if size and written == size else None

    def _put(self, slot: int, state: Rows) -> bool:
        read = llama.llama_state_seq_set_data(self._context, _pointer(state), state.size, slot)
        return bool(read == state.size)

    def _room(self, size: int) -> Rows:
        """Return memory for one sequence; fresh memory costs more than what is done with it."""
        if size > self._scratch.size:
            self._scratch = np.empty(2 * size, np.uint8)
        return self._scratch[:size]

    def _tokens(self, text: str, *, has_marks: bool) -> list[int]:
        data = text.encode()
        capacity = len(data) + SPECIAL_TOKENS
        tokens = (llama.llama_token * capacity)()
        count = llama.llama_tokenize(
            self._vocabulary, data, len(data), tokens, capacity, has_marks, has_marks
        )
        return list(tokens[:count])

    def _infill(self) -> Infill | None:
        """Return the layout for gaps; llama.cpp knows its tokens by the file's word or by text."""
        vocabulary = self._vocabulary
        prefix = llama.llama_vocab_fim_pre(vocabulary)
        suffix = llama.llama_vocab_fim_suf(vocabulary)
        middle = llama.llama_vocab_fim_mid(vocabulary)
        if min(prefix, suffix, middle) < 0:
            return None
        has_bos = self.bos and llama.llama_vocab_get_add_bos(vocabulary)
        bos = llama.llama_vocab_bos(vocabulary) if has_bos else None
        return Infill(prefix=prefix, suffix=suffix, middle=middle, bos=bos)

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        found: bytes = llama.llama_vocab_get_text(self._vocabulary, token)
        return found.decode(errors="replace")

    def _piece(self, token: int) -> bytes:
        size = PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocabulary, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count


def _load(settings: ContextSettings, wanted: Callable[[float], bool], log: Log) -> Any:
    params = llama.llama_model_default_params()
    params.n_gpu_layers = settings.gpu_layers
    progress = llama.llama_progress_callback(lambda done, _data: wanted(done))
    params.progress_callback = progress
    model = llama.llama_model_load_from_file(settings.path.encode(), params)
    if not model:
        msg = f"llama.cpp cannot load the file: {log.reason}"
        raise LoadFailed(msg)
    if llama.llama_model_has_encoder(model) or not llama.llama_model_has_decoder(model):
        msg = "the model is not a decoder-only text generator"
        raise LoadFailed(msg)
    return model


def _context_params(settings: ContextSettings, rows: int) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx = padded(settings.context) * settings.slots
    longest = max(settings.batch, rows) + SPARE_ROWS
    params.n_batch = params.n_ubatch = min(longest, params.n_ctx)
    params.n_seq_max = settings.slots
    params.n_outputs_max = rows
    params.n_threads = params.n_threads_batch = settings.threads
    # One cache for all would have every row look over everybody's cells.
    params.kv_unified = False
    params.no_perf = True
    return params


def _pointer(state: Rows) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
