"""Durable jobs from the command line, beside a running ``mesh up``."""

import json
from pathlib import Path
from typing import Any

from tests.support.command import finished, running_up
from tests.support.requests import numbers


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_jobs_from_the_command_line(tmp_path: Path) -> None:
    """A file of jobs comes back as a file of records, and each can be shown, listed and dropped."""
    sheet = tmp_path / "jobs.jsonl"
    message = {"role": "user", "content": "count"}
    request = {"model": "scripted", "messages": [message], "policy": "edge-only"}
    orders = [{"key": f"line-{number}", "request": request} for number in range(3)]
    sheet.write_text("".join(json.dumps(order) + "\n" for order in orders))
    async with running_up(tmp_path) as mesh:
        assert {"gateway", "runner", "worker"} <= {part.name for part in mesh.run.parts}
        here = f"--state={mesh.state}"
        first = await finished(tmp_path, "jobs", "submit", str(sheet), here)
        assert first.err == ""
        records = lines(first.out)
        assert {record["result"]["text"] for record in records} == {numbers(16)}
        again = await finished(tmp_path, "jobs", "submit", str(sheet), here, "--no-wait")
        assert {each["id"] for each in lines(again.out)} == {each["id"] for each in records}
        listed = await finished(tmp_path, "jobs", "list", "--json", here)
        assert {row["state"] for row in lines(listed.out)} == {"succeeded"}
        job = records[0]["id"]
        shown = await finished(tmp_path, "jobs", "show", job, here)
        assert json.loads(shown.out)["request"]["model"] == "scripted"
        refused = await finished(tmp_path, "jobs", "retry", job, here)
        assert refused.err == "mesh: the job is succeeded, and such a job cannot become queued\n"
        await finished(tmp_path, "jobs", "drop", job, here)
        gone = await finished(tmp_path, "jobs", "show", job, here)
        assert (gone.process.returncode, gone.err) == (1, f"mesh: there is no job '{job}'\n")


async def test_a_line_that_is_no_job_is_named(tmp_path: Path) -> None:
    """Nothing is submitted from a file with a mistake; the mistake has a line number."""
    sheet = tmp_path / "jobs.jsonl"
    sheet.write_text('\n{"request": {}}\n')
    bus = ("--nats=nats://127.0.0.1:1", "--creds=client.nk")
    command = await finished(tmp_path, "jobs", "submit", str(sheet), *bus)
    assert command.process.returncode != 0
