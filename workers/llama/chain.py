"""How llama.cpp draws one sequence's tokens: a chain of its samplers."""

import ctypes
import math
from collections.abc import Iterable, Sequence
from typing import Any

from workers.llama.library import llama
from workers.llama.sampling import Drawing


class SamplerChain:
    """A sampler chain of one sequence; ``close`` it when the sequence ends."""

    def __init__(
        self, context: Any, drawing: Drawing, num_vocabulary: int, depth: int, ends: frozenset[int]
    ) -> None:
        """``depth``: tokens of a sequence; ``ends``: tokens with which the model ends."""
        self._context = context
        params = llama.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama.llama_sampler_chain_init(params)
        self._draw: Any = None
        self._tokens_to_end = drawing.min_tokens
        """Tokens still to come before the ban on ends, the chain's first sampler, is lifted."""
        if drawing.min_tokens:
            self._add(_ban({*ends, *drawing.stop_token_ids}, num_vocabulary))
        if drawing.ignore_eos:
            self._add(_ban(ends, num_vocabulary))
        if drawing.logit_bias:
            self._add(_bias_sampler(drawing.logit_bias, num_vocabulary))
        if drawing.has_penalties:
            self._add_penalties(drawing, num_vocabulary, depth)
        self._add_draw(drawing)

    def sample(self, row: int) -> int:
        """Draw the next token from a row of the last step's logits."""
        token: int = llama.llama_sampler_sample(self._chain, self._context, row)
        if self._tokens_to_end:
            self._count_down()
        return token

    def replay(self, token: int) -> None:
        """Take over a token that was sampled elsewhere, so that a resumed stream goes on as was.

        The final sampler draws exactly one random number per token, whatever the odds.
        """
        llama.llama_sampler_accept(self._chain, token)
        if self._draw:
            only = llama.llama_token_data(id=token, logit=0.0, p=0.0)
            array = llama.llama_token_data_array(ctypes.pointer(only), 1, -1, False)
            llama.llama_sampler_apply(self._draw, ctypes.byref(array))
        if self._tokens_to_end:
            self._count_down()

    def close(self) -> None:
        """Free the chain."""
        llama.llama_sampler_free(self._chain)

    def _count_down(self) -> None:
        self._tokens_to_end -= 1
        if not self._tokens_to_end:
            llama.llama_sampler_free(llama.llama_sampler_chain_remove(self._chain, 0))

    def _add_penalties(self, drawing: Drawing, num_vocabulary: int, depth: int) -> None:
        last = depth if drawing.repeat_last_n < 0 else min(depth, drawing.repeat_last_n)
        self._add(
            llama.llama_sampler_init_penalties(
                num_vocabulary,
                last,
                drawing.repeat_penalty,
                drawing.frequency_penalty,
                drawing.presence_penalty,
            )
        )

    def _add_draw(self, drawing: Drawing) -> None:
        if drawing.temperature == 0:
            self._add(llama.llama_sampler_init_greedy())
            return
        if drawing.top_k > 0:
            self._add(llama.llama_sampler_init_top_k(drawing.top_k))
        if drawing.typical_p < 1:
            self._add(llama.llama_sampler_init_typical(drawing.typical_p, 1))
        if drawing.top_p < 1:
            self._add(llama.llama_sampler_init_top_p(drawing.top_p, 1))
        if drawing.min_p > 0:
            self._add(llama.llama_sampler_init_min_p(drawing.min_p, 1))
        self._add(llama.llama_sampler_init_temp(drawing.temperature))
        self._draw = llama.llama_sampler_init_dist(drawing.seed)
        self._add(self._draw)

    def _add(self, sampler: Any) -> None:
        llama.llama_sampler_chain_add(self._chain, sampler)


def _ban(tokens: Iterable[int], num_vocabulary: int) -> Any:
    return _bias_sampler([(token, -math.inf) for token in tokens], num_vocabulary)


def _bias_sampler(biases: Sequence[tuple[int, float]], num_vocabulary: int) -> Any:
    array = (llama.llama_logit_bias * len(biases))(
        *(llama.llama_logit_bias(*bias) for bias in biases)
    )
    return llama.llama_sampler_init_logit_bias(num_vocabulary, len(biases), array)
