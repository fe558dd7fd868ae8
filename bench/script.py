"""The answer every backend gives: numbered tokens, so that a lost or swapped one is noticed."""

MODEL = "scripted"
FIRST = b'"0 '
"""How the text that has the first token begins in a JSON body."""


def tokens(count: int) -> list[str]:
    """Return the first ``count`` tokens, as the mesh's scripted engine numbers them."""
    return [f"{number} " for number in range(count)]


def text(count: int) -> str:
    """Return the answer of ``count`` tokens."""
    return "".join(tokens(count))
