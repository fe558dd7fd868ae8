"""Words to fill templates with, and words that do not exist, so that copying must be learnt."""

from __future__ import annotations

from pathlib import Path
from random import Random

_LISTS = Path(__file__).parent / "lists"


def _words(name: str) -> list[str]:
    """Read one of the hand-written word lists; their order decides what a seed draws."""
    return (_LISTS / f"{name}.txt").read_text(encoding="utf-8").split()


NAMES = _words("names")
HELD_OUT_NAMES = _words("held_out_names")
CITIES = _words("cities")
HELD_OUT_CITIES = _words("held_out_cities")
COUNTRIES = _words("countries")
COMMON = _words("common")
NOUNS = _words("nouns")
HELD_OUT_NOUNS = _words("held_out_nouns")
THINGS = _words("things")

_ONSETS = [*"bcdfghjklmnprstvwz", "br", "cr", "dr", "fl", "gr", "kl", "pl", "pr", "sh", "sk", "sl"]
_ONSETS += ["sm", "sn", "sp", "st", "th", "tr"]
_VOWELS = [*"aeiouaeiou", "ai", "ea", "ee", "oo", "ou"]
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "k", "m", "p", "x", "nd", "st"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pseudo_word(random: Random) -> str:
    """Make a word of one to four syllables that can be spoken but, as a rule, does not exist."""
    count = random.choice((1, 2, 2, 2, 3, 3, 4))
    return "".join(
        random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS)
        for _ in range(count)
    )


def letter_word(random: Random) -> str:
    """Draw two to eight letters without any order."""
    return "".join(random.choice(_LETTERS) for _ in range(random.randint(2, 8)))


def strange_word(random: Random) -> str:
    """Make a word to copy: mostly syllables, sometimes letters, digits or capitals."""
    kind = random.random()
    if kind < 0.06:
        return str(random.randint(0, 99999))
    if kind < 0.09:
        return f"{letter_word(random)}{random.randint(0, 999)}"
    word = letter_word(random) if kind < 0.35 else pseudo_word(random)
    case = random.random()
    if case < 0.2:
        return word.capitalize()
    return word.upper() if case < 0.25 else word


def proper_noun(random: Random, known: list[str]) -> str:
    """Draw a name: half of the time a known one, else invented."""
    return random.choice(known) if random.random() < 0.5 else pseudo_word(random).capitalize()


def phrase(random: Random, longest: int = 8) -> str:
    """Draw one to `longest` words: common, strange, or both; sometimes written as a sentence."""
    count = random.choice((1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8))
    strange = random.choice((0.0, 0.3, 0.6, 1.0, 1.0))
    words = [
        strange_word(random) if random.random() < strange else random.choice(COMMON)
        for _ in range(min(count, longest))
    ]
    if len(words) > 2 and random.random() < 0.12:
        words[random.randrange(len(words) - 1)] += ","
    text = " ".join(words)
    if count > 1 and random.random() < 0.3:
        text = text[0].upper() + text[1:]
        text += random.choice((".", ".", "!", "?"))
    return text
