"""``mesh up`` keeps responses where they survive it."""

from pathlib import Path

import openai

from tests.support.command import Up, running_up


def client_of(up: Up) -> openai.AsyncOpenAI:
    """Return the client that applications use, to be closed by its context."""
    return openai.AsyncOpenAI(base_url=up.run.base_url, api_key="any", max_retries=0)


async def test_responses_survive_a_restart(tmp_path: Path) -> None:
    """A conversation goes on after the whole mesh has been stopped and started again."""
    async with running_up(tmp_path) as up, client_of(up) as client:
        first = await client.responses.create(model="scripted", input="one two")
    async with running_up(tmp_path) as up, client_of(up) as client:
        assert await client.responses.retrieve(first.id) == first
        second = await client.responses.create(
            model="scripted", input="three", previous_response_id=first.id
        )
    assert second.usage is not None
    assert second.usage.input_tokens == 2 + 16 + 1
