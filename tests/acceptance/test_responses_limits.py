"""A key's limits hold for responses, too, and for those that run on in the background."""

from pathlib import Path

import openai
import pytest

from tests.support.keys import door_of, key_store, made
from tests.support.mesh import broker_in, scripted_worker
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings


async def test_a_background_response_holds_its_tokens(tmp_path: Path) -> None:
    """What it may take is set aside while it runs, and what it took is what counts."""
    script = ScriptedSettings(ttft_ms=300)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script),
        door_of(broker, "scripted") as door,
        key_store(broker) as store,
    ):
        key, _ = await made(store, tokens_per_minute=1000)
        await until(lambda: door.knows(key))
        client = await door.client(key)
        ask = client.responses.create
        begun = await ask(model="scripted", input="hi", max_output_tokens=900, background=True)
        with pytest.raises(openai.RateLimitError):
            await ask(model="scripted", input="hi", max_output_tokens=500)

        async def is_done() -> bool:
            return (await client.responses.retrieve(begun.id)).status == "completed"

        await until_async(is_done)
        last = await client.responses.with_raw_response.create(
            model="scripted", input="hi", max_output_tokens=500
        )
    assert int(last.headers["x-ratelimit-remaining-tokens"]) > 400
