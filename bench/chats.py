"""A client of OpenAI-compatible servers that takes the time of everything in an answer."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Self

import aiohttp
import msgspec

from bench.failures import WrongAnswer
from bench.load import CHAT
from schemas.wire import Message, decoder

PATIENCE = 120.0
"""Seconds one answer may take."""
EVENT = b"data: "
DONE = b"[DONE]"


class Details(Message, frozen=True, kw_only=True):
    """What a server tells of the prompt's tokens."""

    cached_tokens: int = 0


class Usage(Message, frozen=True, kw_only=True):
    """Tokens as a server counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None

    @property
    def cached(self) -> int:
        """Tokens of the prompt that were not computed."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0


class Text(Message, frozen=True, kw_only=True):
    content: str | None = None


class Choice(Message, frozen=True, kw_only=True):
    message: Text = Text()
    delta: Text = Text()


class Body(Message, frozen=True, kw_only=True):
    """What is read of a chat completion, or of a chunk of one."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None


class Reply(Message, frozen=True, kw_only=True):
    """One answer. asked, first, ended: seconds on one clock; worker: who computed it."""

    text: str
    usage: Usage
    asked: float
    first: float
    ended: float
    worker: str = ""

    @property
    def first_token(self) -> float:
        """Seconds to the first token."""
        return self.first - self.asked


_decoder = decoder(Body)


def chat(
    model: str, turns: Sequence[tuple[str, str]], tokens: int, **fields: object
) -> dict[str, object]:
    """Return the body of a request for a greedy answer; ``turns``: role and text of each."""
    messages = [{"role": role, "content": text} for role, text in turns]
    fixed = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
    return fixed | fields


class Client:
    """Asks one server; use it as a context."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def ask(self, body: dict[str, object]) -> Reply:
        """Return the answer to one request; raises ``WrongAnswer`` for anything but an answer."""
        asked = perf_counter()
        async with self._session.post(
            self._url + CHAT,
            data=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
        ) as response:
            if response.status != 200:
                raise WrongAnswer(f"status {response.status}: {await response.text()}")
            worker = response.headers.get("x-mesh-worker", "")
            read = _streamed if body.get("stream") else _whole
            text, usage, first = await read(response)
        return Reply(
            text=text,
            usage=usage,
            asked=asked,
            first=first,
            ended=perf_counter(),
            worker=worker,
        )

    async def ask_all(self, bodies: Sequence[dict[str, object]]) -> list[Reply]:
        """Ask everything at once."""
        return await asyncio.gather(*(self.ask(body) for body in bodies))


async def _whole(response: aiohttp.ClientResponse) -> tuple[str, Usage, float]:
    body = _decoder.decode(await response.read())
    text = "".join(choice.message.content or "" for choice in body.choices)
    return text, body.usage or Usage(), perf_counter()


async def _streamed(response: aiohttp.ClientResponse) -> tuple[str, Usage, float]:
    text, usage, first, ended = "", Usage(), 0.0, False
    async for line in response.content:
        data = line.removeprefix(EVENT).strip()
        if not line.startswith(EVENT) or data == DONE:
            ended = ended or data == DONE
            continue
        chunk = _decoder.decode(data)
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
        first = first or (perf_counter() if text else 0.0)
    if not ended or not first:
        raise WrongAnswer(f"a stream that ends early: {text[-200:]!r}")
    return text, usage, first


def streamed(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request for a stream that ends with its usage."""
    return body | {"stream": True, "stream_options": {"include_usage": True}}
