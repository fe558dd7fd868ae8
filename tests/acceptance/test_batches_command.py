"""``mesh up`` has files and batches with no further step."""

from pathlib import Path

import openai
import pytest

from tests.support.batches import ended, line, lines_of, submit
from tests.support.command import running_up


@pytest.mark.parametrize("flags", [(), ("--policy=edge-only",)])
async def test_a_mesh_answers_batches_from_the_start(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """A batch is answered by a mesh that was just started, also by one without the cloud's keys."""
    async with (
        running_up(tmp_path, *flags) as up,
        openai.AsyncOpenAI(base_url=up.run.base_url, api_key="any", max_retries=0) as client,
    ):
        done = await ended(client, await submit(client, [line("a"), line("b")]))
        assert done.status == "completed"
        assert len(await lines_of(client, done.output_file_id)) == 2
