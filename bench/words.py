"""The language of the benchmark's model: made-up words, each of them one token.

Half of the words only occur in prompts. The other half lie on a tape: the model answers with the
tape's words in their order, from the first, unless the prompt itself contains the word it has just
said; then it goes on as the prompt went on. So every right answer is known in advance.
"""

import random
from functools import cache
from itertools import product

SPACE = "\u0120"
"""How byte-level BPE vocabularies write a leading space."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROLE_MERGES = (
    *("u se", "use r"),
    *("s y", "sy s", "sys te", "syste m"),
    *("a s", "as si", "assi s", "assis ta", "assista n", "assistan t"),
)
"""How the names of roles become one token each, as they are in the vocabularies of real models."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SEED = 11


def syllables() -> list[str]:
    """Return all syllables, a consonant and a vowel each."""
    return ["".join(pair) for pair in product("bcdfghjklmnpqrstvwxyz", "aeiou")]


def words() -> list[str]:
    """Return all words, two syllables each, which no tokenizer can cut in another way."""
    return ["".join(pair) for pair in product(syllables(), repeat=2)]


@cache
def tape() -> tuple[str, ...]:
    """Return the words the model says by itself, in their order."""
    return _shuffled()[1::2]


def _prompt_words() -> tuple[str, ...]:
    return _shuffled()[::2]


@cache
def _shuffled() -> tuple[str, ...]:
    return tuple(random.Random(_SEED).sample(words(), len(words())))  # noqa: S311 - names


def prompt(count: int, seed: int) -> str:
    """Return ``count`` words that make the model say its tape; another text for another seed."""
    return " ".join(random.Random(seed).choices(_prompt_words(), k=count))  # noqa: S311


def passage(count: int, seed: int) -> str:
    """Return ``count`` words that the model quotes: the tape's first leads into them."""
    rest = random.Random(seed).sample(_prompt_words(), count - 1)  # noqa: S311
    return " ".join([tape()[0], *rest])


def said(count: int) -> str:
    """Return what the model answers with ``count`` tokens to a text without words of the tape."""
    return "".join(f" {word}" for word in tape()[:count])
