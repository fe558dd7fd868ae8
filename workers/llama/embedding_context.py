"""llama.cpp behind the one verb that the embedding loop needs.

Encoders (BERT and its kin) have no memory: a batch goes through ``llama_encode``. Embedding models
made of text generators go through ``llama_decode``, and their KV cache is emptied after each batch.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.llama.context import DecodeFailed, LoadFailed
from workers.llama.embedding_fit import EXACT_TOKENS
from workers.llama.encoder import Tokens
from workers.llama.library import Log, fresh_log, llama
from workers.llama.pooling import Pooling

SPECIAL_TOKENS = 8
"""Room for what tokenizers add: BOS, EOS, a leading blank."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """Sizes of a context. capacity: tokens per batch at most; sequences: inputs per batch."""

    path: str
    capacity: int
    sequences: int
    threads: int
    gpu_layers: int
    pooling: Pooling


class EmbeddingContext:
    """A loaded embedding model; an ``Encoder``."""

    def __init__(self, settings: EncoderSettings, wanted: Callable[[float], bool]) -> None:
        """Load; ``wanted`` is told how much is done, 0 to 1, and gives up by returning false.

        Raises ``LoadFailed``.
        """
        self._log = fresh_log()
        llama.llama_backend_init()
        self._model = _load(settings, wanted, self._log)
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self._context = llama.llama_init_from_model(self._model, _context_params(settings))
        if not self._context:
            msg = f"llama.cpp cannot make a context of this size: {self._log.reason}"
            raise LoadFailed(msg)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = _Batch(settings.capacity, settings.sequences)
        self.num_vocabulary: int = llama.llama_vocab_n_tokens(self._vocabulary)
        self.width = _width(self._model, settings.pooling)
        self.longest_token = self._longest_token()
        self._pairs: bytes | None = llama.llama_model_chat_template(self._model, b"rerank")

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of an input, with those that the model wants around them."""
        return self._tokenize(text, add_special=True, parse_special=True)

    def pair(self, query: str, document: str) -> list[int]:
        """Return the tokens of a question and a text, the way llama-server joins them.

        By the model's own template named ``rerank``, else ``BOS query EOS SEP document EOS``, each
        of the special tokens only if the vocabulary says that the model wants it.
        """
        if self._pairs is not None:
            return self._templated_pair(self._pairs.decode(errors="replace"), query, document)
        vocabulary = self._vocabulary
        bos = [llama.llama_vocab_bos(vocabulary)] * llama.llama_vocab_get_add_bos(vocabulary)
        sep = [llama.llama_vocab_sep(vocabulary)] * llama.llama_vocab_get_add_sep(vocabulary)
        eos = [self._end()] * llama.llama_vocab_get_add_eos(vocabulary)
        return [*bos, *self._plain(query), *eos, *sep, *self._plain(document), *eos]

    def encode(self, inputs: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return one row per input, of shape ``[len(inputs), width]``; raises ``DecodeFailed``."""
        self._batch.fill(inputs)
        compute = llama.llama_decode if self._memory else llama.llama_encode
        if code := compute(self._context, self._batch.native):
            msg = f"llama.cpp could not compute a batch of inputs (it returned {code})"
            raise DecodeFailed(msg)
        rows = np.stack([self._row(sequence) for sequence in range(len(inputs))])
        if self._memory:
            llama.llama_memory_clear(self._memory, False)
        return rows

    def _row(self, sequence: int) -> NDArray[np.float32]:
        found = llama.llama_get_embeddings_seq(self._context, sequence)
        if not found:
            raise DecodeFailed("llama.cpp pooled no output for an input")
        return np.ctypeslib.as_array(found, (self.width,))

    def _templated_pair(self, template: str, query: str, document: str) -> list[int]:
        # Split before filling in: a query that spells a placeholder is only text.
        parts = [part.split("{document}") for part in template.split("{query}")]
        text = query.join(document.join(part) for part in parts)
        return self._tokenize(text, add_special=False, parse_special=True)

    def _plain(self, text: str) -> list[int]:
        """Return the tokens of a text in which nothing counts as a special token."""
        return self._tokenize(text, add_special=False, parse_special=False)

    def _end(self) -> int:
        eos: int = llama.llama_vocab_eos(self._vocabulary)
        return eos if eos >= 0 else llama.llama_vocab_sep(self._vocabulary)

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        count = len(data) + SPECIAL_TOKENS
        while True:
            capacity, tokens = count, (llama.llama_token * count)()
            count = llama.llama_tokenize(
                self._vocabulary, data, len(data), tokens, capacity, add_special, parse_special
            )
            if count >= 0:
                return list(tokens[:count])
            count = -count

    def _longest_token(self) -> int | None:
        """WordPiece and unigram vocabularies fold white space and unknown words of any length."""
        kind = llama.llama_vocab_type(self._vocabulary)
        if kind not in (llama.LLAMA_VOCAB_TYPE_SPM, llama.LLAMA_VOCAB_TYPE_BPE):
            return None
        return max(
            len(llama.llama_vocab_get_text(self._vocabulary, token))
            for token in range(self.num_vocabulary)
        )


class _Batch:
    """A ``llama_batch`` in memory that is allocated once and filled anew for every batch.

    Input *i* is sequence *i*, so the lists of sequence ids are pointers into one array.
    """

    def __init__(self, capacity: int, sequences: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        self._owners = np.zeros(capacity, np.uintp)
        self._outputs = np.ones(capacity, np.int8)
        self._ids = np.arange(sequences, dtype=np.int32)
        native = self.native = llama.llama_batch()
        native.token = self._pointer(self._tokens, native.token)
        native.pos = self._pointer(self._positions, native.pos)
        native.n_seq_id = self._pointer(self._counts, native.n_seq_id)
        native.seq_id = self._pointer(self._owners, native.seq_id)
        native.logits = self._pointer(self._outputs, native.logits)

    def fill(self, inputs: Sequence[Tokens]) -> None:
        """Lay the inputs out one after another."""
        lengths = [len(tokens) for tokens in inputs]
        end = sum(lengths)
        self._tokens[:end] = np.concatenate([np.asarray(tokens, np.int32) for tokens in inputs])
        self._positions[:end] = np.concatenate([np.arange(length) for length in lengths])
        addresses = self._ids.ctypes.data + np.arange(len(inputs)) * self._ids.itemsize
        self._owners[:end] = np.repeat(addresses, lengths)
        self.native.n_tokens = end

    @staticmethod
    def _pointer(array: NDArray[Any], like: Any) -> Any:
        return ctypes.cast(array.ctypes.data, type(like))


def _load(settings: EncoderSettings, wanted: Callable[[float], bool], log: Log) -> Any:
    params = llama.llama_model_default_params()
    params.n_gpu_layers = settings.gpu_layers
    progress = llama.llama_progress_callback(lambda done, _data: wanted(done))
    params.progress_callback = progress
    model = llama.llama_model_load_from_file(settings.path.encode(), params)
    if not model:
        msg = f"llama.cpp cannot load the file: {log.reason}"
        raise LoadFailed(msg)
    return model


def _context_params(settings: EncoderSettings) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = settings.capacity
    params.n_seq_max = settings.sequences
    params.n_threads = params.n_threads_batch = settings.threads
    params.embeddings = True
    if settings.capacity <= EXACT_TOKENS:
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.pooling_type = settings.pooling.value
    params.kv_unified = True
    params.no_perf = True
    return params


def _width(model: Any, pooling: Pooling) -> int:
    if pooling is Pooling.RANK:
        return int(llama.llama_model_n_cls_out(model))
    return int(llama.llama_model_n_embd_out(model))
