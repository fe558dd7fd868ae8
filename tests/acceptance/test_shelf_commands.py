"""A folder of models behind one command, as people meet it."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from mesh.accounts import Role
from mesh.broker import Broker
from tests.support.command import Command, finished, started
from tests.support.llama import llama_settings
from tests.support.mesh import broker_in
from tests.support.tiny_model import write_tiny_model
from tests.support.wait import until
from workers.llama.prospect import foresee


def rows(command: Command) -> list[Sequence[str]]:
    """Return model, tier and state of each line of a table."""
    assert command.process.returncode == 0, command.err
    return [line.split()[:3] for line in command.out.splitlines()[1:]]


async def test_models_of_a_folder_are_loaded_by_hand(tmp_path: Path) -> None:
    """What fits is there from the start; another takes its place when it is told to."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    files = [write_tiny_model(shelf / f"{name}.gguf") for name in ("a", "b")]
    need = foresee(llama_settings(files[0])).need.total
    async with broker_in(tmp_path / "broker") as broker:
        words = (
            f"--state={tmp_path / 'state'}",
            "--name=w1",
            f"--model={shelf}",
            f"--memory={1.5 * need / (1 << 20):.0f}M",
            "--min-residency=0",
            f"--ready-file={tmp_path / 'ready'}",
            "--slots=2",
            "--threads=1",
        )
        async with started(tmp_path, "worker", *_bus(broker, Role.EDGE_WORKER), *words):
            await until((tmp_path / "ready").exists, within=30)
            bus = _bus(broker, Role.CLIENT)
            before, lost = await asyncio.gather(
                finished(tmp_path, "models", *bus),
                finished(tmp_path, "models", "load", "c", *bus),
            )
            loaded = await finished(tmp_path, "models", "load", "b", "--on=w1", *bus)
            after = await finished(tmp_path, "models", *bus)
    assert rows(before) == [["a", "edge", "ready"], ["b", "edge", "available"]]
    assert loaded.out == "b on w1: ready\n"
    assert rows(after) == [["a", "edge", "available"], ["b", "edge", "ready"]]
    assert (lost.process.returncode, lost.err) == (1, "mesh: no edge worker has a model 'c'\n")
    record = json.loads((tmp_path / "state" / "digests.json").read_bytes())
    assert record.keys() == {str(file) for file in files}


def _bus(broker: Broker, role: Role) -> Sequence[str]:
    return (f"--nats={broker.url}", f"--creds={broker.creds(role)}")
