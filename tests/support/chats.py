"""Chat completions that are stored, as OpenAI's client makes and finds them."""

from typing import Any

import openai
from openai.types.chat import ChatCompletion

TEXT = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
HELLO: Any = [{"role": "user", "content": "hello there"}]
"""One message."""


async def stored(
    client: openai.AsyncOpenAI, messages: Any = HELLO, **metadata: str
) -> ChatCompletion:
    """Have a chat completion made and stored."""
    return await client.chat.completions.create(
        model="scripted", messages=messages, store=True, metadata=metadata
    )


async def listed(client: openai.AsyncOpenAI, **query: Any) -> list[str]:
    """Return the ids of all pages of a list."""
    return [found.id async for found in client.chat.completions.list(**query)]
