"""Wait for a state, with a deadline; never for a time."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Return as soon as ``condition()`` holds; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.002)


async def until_async(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Return as soon as ``await condition()`` holds; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.01)
