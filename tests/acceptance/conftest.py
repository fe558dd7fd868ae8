"""Gateway tests run on the event loop that the gateway runs on.

uvloop's transports differ from asyncio's in type, in buffering and in what they raise.
"""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loop for a test; asyncio's own where the gateway is not what is tested."""
    if item.path.name.startswith("test_gateway"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
