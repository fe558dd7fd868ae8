"""Checks of what servers answer: every token, in order, and a proper end.

A server that is fast because it drops something must not win.
"""

from bench import script
from bench.failures import WrongAnswer
from schemas.wire import Message, decoder

PREFIX = b"data: "
DONE = b"data: [DONE]"


class Text(Message, frozen=True, kw_only=True):
    """A message of an answer, or a piece of one."""

    content: str | None = None


class Choice(Message, frozen=True, kw_only=True):
    """A choice of an answer: ``message`` of a whole one, ``delta`` of a streamed one."""

    message: Text = Text()
    delta: Text = Text()
    finish_reason: str | None = None


class Body(Message, frozen=True, kw_only=True):
    """What is checked of a chat completion, or of a chunk of one."""

    choices: tuple[Choice, ...] = ()
    error: object = None


_decoder = decoder(Body)


def check_whole(body: bytes, num_tokens: int) -> None:
    """Raise ``WrongAnswer`` unless a body that did not stream has the script's answer."""
    choice = _decoder.decode(body).choices[0]
    _check(choice.message.content or "", choice.finish_reason, num_tokens)


def check_stream(body: bytes, num_tokens: int) -> int:
    """Return the number of events with text; raises ``WrongAnswer`` for another answer."""
    # What does not start with the prefix is a comment, which keeps a stream alive.
    events = [event for event in body.split(b"\n\n") if event.startswith(PREFIX)]
    if not events or events.pop() != DONE:
        raise WrongAnswer(f"a stream that ends without [DONE]: {body[-300:]!r}")
    bodies = [_decoder.decode(event[len(PREFIX) :]) for event in events]
    if any(chunk.error is not None for chunk in bodies):
        raise WrongAnswer(f"an error in a stream: {body[-300:]!r}")
    choices = [choice for chunk in bodies for choice in chunk.choices]
    pieces = [choice.delta.content for choice in choices if choice.delta.content]
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    _check("".join(pieces), reasons[-1] if reasons else None, num_tokens)
    return len(pieces)


def _check(text: str, finish_reason: str | None, num_tokens: int) -> None:
    if text != script.text(num_tokens):
        raise WrongAnswer(f"not the {num_tokens} tokens of the script: {text[:80]!r}…")
    if finish_reason not in ("length", "stop"):
        raise WrongAnswer(f"the finish reason is {finish_reason!r}")
