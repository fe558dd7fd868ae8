"""Constrained output: which tokens may come next, by llguidance's masks over the vocabulary."""

import json
from collections import OrderedDict

import msgspec
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from mesh.errors import InvalidRequest
from workers.llama.grammar import DEFINITIONS, Grammar, literal
from workers.llama.trigger import Watch
from workers.llama.vocabulary import Vocabulary

MAX_CACHED = 32
"""Compiled grammars of a model that are kept."""
FEW = 8
"""Below this part of the vocabulary it is quicker to put the allowed logits back."""
MAX_REASON = 300
"""Characters of llguidance's own message that are passed on."""


def _limits() -> LLParserLimits:
    """Return bounds that keep compiling and every mask short: all streams wait for them.

    With them the worst of many hostile schemas took 0.2 s to compile and 10 ms per mask.
    """
    return LLParserLimits(
        max_items_in_row=2000,
        step_max_items=10_000,
        initial_lexer_fuel=400_000,
        step_lexer_fuel=40_000,
        max_lexer_states=20_000,
        max_grammar_size=50_000,
        verbose_errors=False,
    )


class Constraints:
    """Compiles grammars for one model's vocabulary."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        """``tokenizer``: must know every token that ends a generation as an EOS token."""
        self._vocabulary = Vocabulary(tokenizer)
        self._limits = _limits()
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._mask = _Mask(tokenizer.vocab_size)

    def start(self, grammar: Grammar) -> "Constraint":
        """Return the constraint of one choice; raises ``InvalidRequest``."""
        matcher = self._matcher(msgspec.structs.replace(grammar, trigger=None)).deep_copy()
        return Constraint(matcher, self._vocabulary, self._mask, grammar)

    def _matcher(self, grammar: Grammar) -> LLMatcher:
        found = self._compiled.get(grammar)
        if found is None:
            found = self._compiled[grammar] = self._compile(grammar)
            if len(self._compiled) > MAX_CACHED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(grammar)
        return found

    def _compile(self, grammar: Grammar) -> LLMatcher:
        matcher = self._new(self._text(grammar))
        if not matcher.is_error():
            # A grammar that is too much shows it mostly at the first mask, so better now.
            self._mask.compute(first := matcher.deep_copy())
            if not first.is_error():
                return matcher
            matcher = first
        raise InvalidRequest(
            f"this cannot be enforced: {_reason(matcher)}", param=self._culprit(grammar)
        )

    def _culprit(self, grammar: Grammar) -> str:
        """Return the field whose schema does not compile by itself, else the grammar's."""
        for source in grammar.sources:
            if self._new(f"start: %json {source.schema}").is_error():
                return source.param
        return grammar.param

    def _new(self, lark: str) -> LLMatcher:
        return LLMatcher(self._vocabulary.tokenizer, lark, log_level=0, limits=self._limits)

    def _text(self, grammar: Grammar) -> str:
        lark = (
            grammar.rules
            + DEFINITIONS
            + "".join(map(self._mark, range(len(grammar.marks)), grammar.marks))
        )
        if not grammar.own:
            return lark
        parts = [
            {"name": "main", "lark_grammar": lark},
            {"name": "own", "lark_grammar": grammar.own},
        ]
        return json.dumps({"grammars": parts})

    def _mark(self, number: int, text: str) -> str:
        """Define a mark: one special token where the vocabulary has it, else its text."""
        if (special := self._vocabulary.special(text)) is not None:
            token = f"<[{special}]>"
            return f"mark_{number}: {token}\nuntil_{number}: ANYTHING {token}\n"
        token = literal(text)
        return f"mark_{number}: {token}\nuntil_{number}[lazy]: ANYTHING {token}\n"


class _Mask:
    """Room for one mask: a bit per token, computed and applied without copying the logits."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._bits = np.zeros((vocabulary + 31) // 32, np.int32)
        self._bytes = self._bits.view(np.uint8)
        self._address = self._bits.ctypes.data

    def compute(self, matcher: LLMatcher) -> None:
        matcher.unsafe_compute_mask_ptr(self._address, self._bits.nbytes)

    def apply(self, logits: NDArray[np.float32]) -> None:
        flags = np.unpackbits(self._bytes, count=self._vocabulary, bitorder="little")
        allowed = flags.view(np.bool_)
        if np.count_nonzero(allowed) * FEW > self._vocabulary:
            np.copyto(logits, -np.inf, where=np.logical_not(allowed, out=allowed))
            return
        places = np.flatnonzero(allowed)
        kept = logits[places]
        logits.fill(-np.inf)
        logits[places] = kept


class Constraint:
    """Follows one choice's output and says what may come next."""

    def __init__(
        self, matcher: LLMatcher, vocabulary: Vocabulary, mask: _Mask, grammar: Grammar
    ) -> None:
        """``matcher``: this choice's own; ``mask``: room that all choices share."""
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask = mask
        self._grammar = grammar
        self._watch = Watch(grammar.trigger) if grammar.trigger else None
        self._is_free = False

    @property
    def is_active(self) -> bool:
        """Whether tokens are forbidden by now; a lazy constraint waits for its trigger."""
        return self._watch is None and not self._is_free

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        return self.is_active and bool(self._matcher.is_stopped())

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set what is forbidden to minus infinity, in place; shape ``[n_vocab]``.

        Raises ``InvalidRequest`` if the grammar turns out to be too complex at this point.
        """
        if not self.is_active:
            return
        self._mask.compute(self._matcher)
        self._check()
        self._mask.apply(logits)

    def accept(self, token: int) -> None:
        """Take the token that was drawn; raises ``InvalidRequest`` if the grammar forbids it."""
        if token in self._vocabulary.ends or self._is_free:
            return
        if self._watch:
            self._look(self._watch, token)
            return
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """Return the tokens that must come next, where there is no choice; often none."""
        if not self.is_active:
            return []
        tokens: list[int] = self._matcher.compute_ff_tokens()
        return tokens

    def _look(self, watch: Watch, token: int) -> None:
        text = watch.push(self._vocabulary.bytes_of(token))
        if text is not None:
            self._watch = None
            self._is_free = not self._replay(text)
        elif watch.is_over:
            self._watch = None
            self._is_free = True

    def _replay(self, text: bytes) -> bool:
        """Take in the opening and what came with it; return whether the grammar allows that."""
        tokens = self._vocabulary.tokens(text, self._grammar.marks)
        return bool(self._matcher.try_consume_tokens(tokens) == len(tokens))

    def _check(self) -> None:
        if self._matcher.is_error():
            msg = f"the output cannot be constrained any further: {_reason(self._matcher)}"
            raise InvalidRequest(msg, param=self._grammar.param)


def _reason(matcher: LLMatcher) -> str:
    lines: list[str] = str(matcher.get_error()).splitlines()
    return lines[0][:MAX_REASON] if lines else "it does not say why"
