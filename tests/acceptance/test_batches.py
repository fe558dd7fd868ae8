"""Batches with the client that applications use: from the upload to the download, and all ends."""

from pathlib import Path

from tests.support.batches import batch_mesh, ended, line, lines_of, submit


async def test_a_batch_is_answered_line_by_line(tmp_path: Path) -> None:
    """Every request comes out once, under its name, as HTTP would have answered it."""
    async with batch_mesh(tmp_path) as mesh:
        names = [f"request-{number}" for number in range(20)]
        batch = await submit(mesh.client, map(line, names), metadata={"week": "47"})
        assert batch.status == "validating"

        done = await ended(mesh.client, batch)

        assert done.status == "completed"
        assert done.request_counts is not None
        assert done.request_counts.model_dump() == {"total": 20, "completed": 20, "failed": 0}
        assert done.error_file_id is None
        assert done.metadata == {"week": "47"}
        answers = {
            each["custom_id"]: each for each in await lines_of(mesh.client, done.output_file_id)
        }
        assert sorted(answers) == sorted(names)
        response = answers["request-3"]["response"]
        assert response["status_code"] == 200
        assert response["body"]["object"] == "chat.completion"
        assert response["body"]["choices"][0]["message"]["content"]
        assert answers["request-3"]["error"] is None
