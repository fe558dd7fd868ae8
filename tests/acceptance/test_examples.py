"""The examples and the README's own Python run as they stand, against a running mesh."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

from tests.support.command import running_up
from tests.support.requests import numbers

ROOT = Path(__file__).resolve().parents[2]
ANSWER = numbers(16).strip()


async def output_of(*words: str, env: Mapping[str, str] | None = None, code: str = "") -> str:
    """Run Python with these words, or this code, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(words or ("-c", code)),
        env=os.environ | (env or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def readme_snippets() -> list[str]:
    """Return the README's Python, asking the scripted model."""
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [snippet.replace('"spark"', '"scripted"') for snippet in found]


async def test_examples_and_readme_run(tmp_path: Path) -> None:
    """Each prints the model's answer and ends well."""
    async with running_up(tmp_path) as mesh:
        run, local = mesh.run, {"MESH_STATE": str(mesh.state)}
        openai, *services = readme_snippets()
        assert ANSWER in await output_of(
            code=openai.replace("http://127.0.0.1:8080/v1", run.base_url)
        )
        assert len(services) == 2
        for service in services:
            beginning, body = service.split("\n\n", 1)
            wrapped = f"{beginning}\nimport asyncio\nasync def main():\n{indent(body, '    ')}"
            assert ANSWER in await output_of(code=f"{wrapped}\nasyncio.run(main())", env=local)

        examples = ROOT / "examples"
        openai_client = str(examples / "openai_client.py")
        assert (await output_of(openai_client, run.base_url, "scripted")).count(ANSWER) == 2
        backend = str(examples / "backend_service.py")
        printed = await output_of(backend, "scripted", env=local)
        assert printed.count(ANSWER) == 2
        assert "too late, as asked" in printed
        plain = str(examples / "plain_nats.py")
        assert (await output_of(plain, run.nats, run.creds["client"], "scripted")).count(
            ANSWER
        ) == 2
        plain_jobs = str(examples / "plain_jobs.py")
        printed = await output_of(plain_jobs, run.nats, run.creds["client"], "scripted")
        assert "succeeded" in printed
        assert ANSWER in printed
