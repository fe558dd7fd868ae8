"""``mesh top`` as people run it: beside a mesh, with and without its gateway."""

import asyncio
from pathlib import Path

from tests.support.command import Up, finished, running_up

TURN = {"role": "user", "content": "count"}


async def test_one_frame_shows_the_mesh(tmp_path: Path) -> None:
    """Workers from the bus, flow and failures from the gateway; plain text in a pipe."""
    async with running_up(tmp_path, "--usd-per-million-out=1000000") as mesh:
        assert (await mesh.ask({"model": "scripted", "messages": [TURN]}))[0] == 200
        assert (await mesh.ask({"model": "scripted", "messages": []}))[0] == 400
        shown, alone = await asyncio.gather(
            finished(tmp_path, "top", "--once", f"--state={mesh.state}"),
            finished(tmp_path, "top", f"--gateway={mesh.run.base_url}", f"--state={tmp_path}"),
        )
    for command in (shown, alone):
        assert command.process.returncode == 0, command.err
        assert "0/4" in command.out
        assert "$16.0000 saved" in command.out
        assert "invalid_request" in command.out
        assert "\x1b" not in command.out


async def test_a_gateway_that_asks_for_a_key_gets_it_from_the_environment(tmp_path: Path) -> None:
    """Without the key its figures are missing, and the screen says why; the workers are there."""
    (tmp_path / "keys").write_text("sk-good\n")
    async with running_up(tmp_path, f"--api-keys={tmp_path / 'keys'}") as mesh:
        without, key = await asyncio.gather(_top(tmp_path, mesh), _top(tmp_path, mesh, "sk-good"))
    assert "asks for a key" in without
    assert "0/4" in without
    assert "where requests went" in key


async def _top(home: Path, mesh: Up, key: str = "") -> str:
    flags = ("--gateway-key-env=THE_KEY",) if key else ()
    words = ("top", "--once", f"--state={mesh.state}", *flags)
    return (await finished(home, *words, THE_KEY=key)).out
